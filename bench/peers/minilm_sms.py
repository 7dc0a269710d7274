"""A whole LoRA run on all-MiniLM-L6-v2 for the SMS spam collection, with transformers and PEFT on the CPU.

Adapters of rank 16 on every linear layer (query, key, value, dense: the pooler's dense too) and a fully trained
classifier. Batches are padded to their own longest message and shuffled in every epoch.

Prints one JSON document on stdout; progress goes to stderr. Times: `load_seconds` reads the model and the tokenizer,
`run_seconds` is everything after that (reading and tokenizing the data, training, all evaluations), `train_seconds` the
training loop alone.
"""

import argparse
import csv

from minilm import argument_parser, run, shared_data  # first: it times the imports

from tokenizers import Tokenizer

import classification

MAX_LENGTH = 256
SPLITS = ["train", "validation", "test"]


def read(args: argparse.Namespace, tokenizer: Tokenizer) -> tuple[dict[str, list], dict]:
    tokenizer.enable_truncation(max_length=MAX_LENGTH)
    splits = {}
    for split in SPLITS:
        with open(args.data / f"{split}.csv", newline="", encoding="utf-8") as source:
            rows = list(csv.DictReader(source))
        splits[split] = classification.encode(tokenizer, [row["Text"] for row in rows], [int(row["Label"]) for row in rows])
    return splits, {}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.set_defaults(data=shared_data("sms-spam"), epochs=5, batch=8, warmup=0.0, max_grad_norm=0.0)
    run(
        parser.parse_args(),
        task_type="SEQ_CLS",
        num_labels=2,
        read=read,
        collate=classification.collate,
        evaluate=classification.evaluate,
        evaluated=SPLITS,
        evaluate_before=True,
    )


if __name__ == "__main__":
    main()
