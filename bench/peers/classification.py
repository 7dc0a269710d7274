"""Single-label text classification: the examples, the batches and the accuracy of the scripts that train a classifier."""

from typing import NamedTuple

import torch
from tokenizers import Tokenizer

from minilm import evaluation_batches, pad_inputs


class Example(NamedTuple):
    ids: list[int]
    label: int


def encode(tokenizer: Tokenizer, texts: list[str], labels: list[int]) -> list[Example]:
    return [Example(encoding.ids, label) for encoding, label in zip(tokenizer.encode_batch(texts), labels)]


def collate(examples: list[Example]) -> dict[str, torch.Tensor]:
    """input_ids and attention_mask [B, T], labels [B]."""
    return {
        **pad_inputs([example.ids for example in examples]),
        "labels": torch.tensor([example.label for example in examples]),
    }


def evaluate(model: torch.nn.Module, examples: list[Example]) -> dict[str, float]:
    correct, loss = 0, 0.0
    for chunk in evaluation_batches(examples):
        batch = collate(chunk)
        output = model(**batch)
        correct += (output.logits.argmax(-1) == batch["labels"]).sum().item()
        loss += output.loss.item() * len(chunk)
    return {"accuracy": round(correct / len(examples), 6), "loss": round(loss / len(examples), 6)}
