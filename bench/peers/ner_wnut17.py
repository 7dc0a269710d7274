"""A whole LoRA run on all-MiniLM-L6-v2 for WNUT 17, emerging named entities of six types, with transformers and PEFT.

The folder has wnut17train.conll, emerging.dev.conll and emerging.test.annotated: `token TAB tag` lines with tags in BIO,
sentences separated by blank lines. A word's label is on its first sub-word, the other sub-words have none. Adapters of
rank 16 on every linear layer (the token classifier has no pooler), a fully trained classifier, 16 sentences a batch.

Measured on dev and test after training, over whole entities, by seqeval in its two ways:
  strict   `mode="strict", scheme=IOB2`: an entity opens with B- and goes on with I- of the same type; anything else in a
           prediction is no entity.
  default  seqeval's default, as in conlleval: an I- without a B- before it opens an entity, too.
A word that the model does not see (cut off at 128 tokens, or one that the tokenizer drops) counts as predicted O.

Prints one JSON document on stdout; progress goes to stderr. Times: `load_seconds` reads the model and the tokenizer,
`run_seconds` is everything after that (reading and tokenizing the data, training, the evaluations), `train_seconds` the
training loop alone.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

from minilm import argument_parser, evaluation_batches, pad, pad_inputs, run, shared_data  # first: it times the imports

import torch
from seqeval.metrics import accuracy_score, classification_report
from seqeval.scheme import IOB2
from tokenizers import Tokenizer

MAX_LENGTH = 128
IGNORED = -100
FILES = {"train": "wnut17train.conll", "dev": "emerging.dev.conll", "test": "emerging.test.annotated"}
TYPES = ["corporation", "creative-work", "group", "location", "person", "product"]
TAGS = ["O", *(f"{prefix}-{type}" for type in TYPES for prefix in "BI")]


class Example(NamedTuple):
    ids: list[int]
    labels: list[int]
    """One for each of `ids`."""
    tags: list[str]
    """One for each word, as in the file."""
    first: list[int | None]
    """Each word's first sub-word among `ids`; None where there is none."""
    cut: bool


def read_conll(file: Path) -> list[list[tuple[str, str]]]:
    """Sentences of (word, tag). Blank lines may hold a tab."""
    sentences: list[list[tuple[str, str]]] = [[]]
    for line in file.read_text(encoding="utf-8").split("\n"):
        if line.strip():
            word, tag = line.split("\t")
            sentences[-1].append((word, tag))
        elif sentences[-1]:
            sentences.append([])
    return [sentence for sentence in sentences if sentence]


def encode(tokenizer: Tokenizer, sentences: list[list[tuple[str, str]]]) -> list[Example]:
    encodings = tokenizer.encode_batch([[word for word, _ in sentence] for sentence in sentences], is_pretokenized=True)
    examples = []
    for encoding, sentence in zip(encodings, sentences):
        first: list[int | None] = [None] * len(sentence)
        labels = [IGNORED] * len(encoding.ids)
        for position, word in enumerate(encoding.word_ids):
            if word is not None and first[word] is None:
                first[word] = position
                labels[position] = TAGS.index(sentence[word][1])
        examples.append(Example(encoding.ids, labels, [tag for _, tag in sentence], first, bool(encoding.overflowing)))
    return examples


def read(args: argparse.Namespace, tokenizer: Tokenizer) -> tuple[dict[str, list], dict]:
    tokenizer.enable_truncation(max_length=MAX_LENGTH)
    splits = {split: encode(tokenizer, read_conll(args.data / file)) for split, file in FILES.items()}
    return splits, {
        "words": {split: sum(len(e.tags) for e in examples) for split, examples in splits.items()},
        "sentences_cut": {split: sum(e.cut for e in examples) for split, examples in splits.items()},
        "words_not_seen": {split: sum(e.first.count(None) for e in examples) for split, examples in splits.items()},
    }


def collate(examples: list[Example]) -> dict[str, torch.Tensor]:
    """input_ids, attention_mask and labels, all [B, T]."""
    return {
        **pad_inputs([example.ids for example in examples]),
        "labels": pad([example.labels for example in examples], IGNORED),
    }


def predict(model: torch.nn.Module, examples: list[Example]) -> list[list[str]]:
    """A tag for each word."""
    batch = pad_inputs([example.ids for example in examples])
    best = model(**batch).logits.argmax(-1).tolist()  # [B, T]
    return [
        ["O" if position is None else TAGS[row[position]] for position in example.first]
        for example, row in zip(examples, best)
    ]


def evaluate(model: torch.nn.Module, examples: list[Example]) -> dict:
    expected, predicted = [], []
    for chunk in evaluation_batches(examples):
        expected += [example.tags for example in chunk]
        predicted += predict(model, chunk)
    strict = {"mode": "strict", "scheme": IOB2}
    return {
        "strict": scores(classification_report(expected, predicted, output_dict=True, zero_division=0, **strict)),
        "default": scores(classification_report(expected, predicted, output_dict=True, zero_division=0)),
        "word_accuracy": round(accuracy_score(expected, predicted), 6),
    }


def scores(report: dict) -> dict:
    """Precision, recall and F1 over all entities and the F1 of each type that occurs, of seqeval's report."""
    total = report["micro avg"]
    return {
        "precision": round(float(total["precision"]), 6),
        "recall": round(float(total["recall"]), 6),
        "f1": round(float(total["f1-score"]), 6),
        "f1_by_type": {type: round(float(report[type]["f1-score"]), 6) for type in TYPES if type in report},
    }


def main() -> None:
    parser = argument_parser(__doc__)
    parser.set_defaults(data=shared_data("wnut17"), batch=16)
    run(
        parser.parse_args(),
        task_type="TOKEN_CLS",
        num_labels=len(TAGS),
        read=read,
        collate=collate,
        evaluate=evaluate,
        evaluated=["dev", "test"],
    )


if __name__ == "__main__":
    main()
