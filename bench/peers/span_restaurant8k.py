"""A whole LoRA run on all-MiniLM-L6-v2 that answers questions about restaurant bookings with spans of the utterance, or
with "no answer", with transformers and PEFT.

The folder has train.json and test.json in the form of SQuAD 2.0, as restaurant8k_to_squad.py writes them. The input is
[CLS] question [SEP] utterance [SEP]; a question without an answer has [CLS] as its start and its end. Adapters of rank 16
on every linear layer (the model for question answering has no pooler), a fully trained head, 16 questions a batch.
PEFT's class for question answering does not hand token_type_ids on: the model sees type 0 everywhere.

Measured on test.json after training, by SQuAD's exact match and F1: the prediction is the best span of at most 30 tokens
inside the utterance, unless [CLS] scores higher (threshold 0).

Prints one JSON document on stdout; progress goes to stderr. Times: `load_seconds` reads the model and the tokenizer,
`run_seconds` is everything after that (reading and tokenizing the data, training, the evaluation), `train_seconds` the
training loop alone.
"""

import argparse
from typing import NamedTuple

from minilm import argument_parser, evaluation_batches, pad, pad_inputs, run  # first: it times the imports

import torch
from tokenizers import Tokenizer

from squad import Question, read_squad, squad_scores

MAX_LENGTH = 384  # longer than the longest utterance with its question: nothing is cut
MAX_ANSWER_TOKENS = 30


class Example(NamedTuple):
    ids: list[int]
    token_types: list[int]
    in_context: list[int]
    """1 at the utterance's tokens."""
    offsets: list[tuple[int, int]]
    """Characters of each token, in the question or the utterance that it is from."""
    start: int
    end: int
    """The answer's first and last token; both 0, which is [CLS], without an answer."""
    question: Question


def answer_tokens(question: Question, in_context: list[int], offsets: list[tuple[int, int]]) -> tuple[int, int]:
    """The tokens that share a character with the (first) answer."""
    if not question.answers:
        return 0, 0
    start, end = question.answers[0]
    inside = [i for i, (a, b) in enumerate(offsets) if in_context[i] and a < end and b > start]
    if not inside:
        raise ValueError(f"{question.id}: no token of the context is in the answer")
    return inside[0], inside[-1]


def encode(tokenizer: Tokenizer, questions: list[Question]) -> list[Example]:
    examples = []
    encodings = tokenizer.encode_batch([(question.text, question.context) for question in questions])
    for question, encoding in zip(questions, encodings):
        in_context = [int(sequence == 1) for sequence in encoding.sequence_ids]
        span = answer_tokens(question, in_context, encoding.offsets)
        examples.append(Example(encoding.ids, encoding.type_ids, in_context, encoding.offsets, *span, question))
    return examples


def read(args: argparse.Namespace, tokenizer: Tokenizer) -> tuple[dict[str, list], dict]:
    tokenizer.enable_truncation(max_length=MAX_LENGTH, strategy="only_second")
    splits = {split: encode(tokenizer, read_squad(args.data / f"{split}.json")) for split in ("train", "test")}
    longest = {split: max(len(example.ids) for example in examples) for split, examples in splits.items()}
    return splits, {"longest": longest}


def collate_inputs(examples: list[Example]) -> dict[str, torch.Tensor]:
    """input_ids, attention_mask and token_type_ids (which PEFT drops), all [B, T]."""
    return {
        **pad_inputs([example.ids for example in examples]),
        "token_type_ids": pad([example.token_types for example in examples], 0),
    }


def collate(examples: list[Example]) -> dict[str, torch.Tensor]:
    """The inputs, and start_positions and end_positions [B]."""
    return {
        **collate_inputs(examples),
        "start_positions": torch.tensor([example.start for example in examples]),
        "end_positions": torch.tensor([example.end for example in examples]),
    }


def predict(model: torch.nn.Module, examples: list[Example]) -> dict[str, str]:
    """The answer to each question by its id; "" for none."""
    output = model(**collate_inputs(examples))
    start, end = output.start_logits, output.end_logits  # [B, T]
    null = start[:, 0] + end[:, 0]
    outside = pad([example.in_context for example in examples], 0) == 0
    start, end = start.masked_fill(outside, -torch.inf), end.masked_fill(outside, -torch.inf)
    length = start.shape[1]
    allowed = torch.ones(length, length, dtype=torch.bool).triu().tril(MAX_ANSWER_TOKENS - 1)  # [start, end]
    scores = (start[:, :, None] + end[:, None, :]).masked_fill(~allowed, -torch.inf)  # [B, T, T]
    best, where = scores.flatten(1).max(-1)
    answers = {}
    for i, example in enumerate(examples):
        first, last = divmod(where[i].item(), length)
        span = slice(example.offsets[first][0], example.offsets[last][1])
        answers[example.question.id] = example.question.context[span] if best[i] >= null[i] else ""
    return answers


def evaluate(model: torch.nn.Module, examples: list[Example]) -> dict[str, float]:
    predictions = {}
    for chunk in evaluation_batches(examples):
        predictions |= predict(model, chunk)
    return squad_scores([example.question for example in examples], predictions)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.set_defaults(batch=16)
    args = parser.parse_args()
    if args.data is None:
        parser.error("--data DIR is missing: the folder that restaurant8k_to_squad.py wrote")
    run(
        args,
        task_type="QUESTION_ANS",
        num_labels=2,
        read=read,
        collate=collate,
        evaluate=evaluate,
        evaluated=["test"],
    )


if __name__ == "__main__":
    main()
