"""A whole LoRA run on all-MiniLM-L6-v2 for BANKING77, 77 intents of a bank's customers, with transformers and PEFT.

The folder has train.csv and test.csv (`text`, `category`) and categories.json, the list of the labels. Adapters of rank
16 on every linear layer (the pooler's dense too), a fully trained classifier, 32 texts a batch; measured by the
accuracy on test.csv after training.

Prints one JSON document on stdout; progress goes to stderr. Times: `load_seconds` reads the model and the tokenizer,
`run_seconds` is everything after that (reading and tokenizing the data, training, the evaluation), `train_seconds` the
training loop alone.
"""

import argparse
import csv
import json

from minilm import argument_parser, run, shared_data  # first: it times the imports

from tokenizers import Tokenizer

import classification

MAX_LENGTH = 256  # longer than the longest text: nothing is cut


def categories(args: argparse.Namespace) -> list[str]:
    return json.loads((args.data / "categories.json").read_text(encoding="utf-8"))


def read(args: argparse.Namespace, tokenizer: Tokenizer) -> tuple[dict[str, list], dict]:
    tokenizer.enable_truncation(max_length=MAX_LENGTH)
    index = {name: i for i, name in enumerate(categories(args))}
    splits = {}
    for split in ("train", "test"):
        with open(args.data / f"{split}.csv", newline="", encoding="utf-8") as source:
            rows = list(csv.DictReader(source))
        labels = [index[row["category"]] for row in rows]
        splits[split] = classification.encode(tokenizer, [row["text"] for row in rows], labels)
    return splits, {}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.set_defaults(data=shared_data("banking77"), batch=32)
    args = parser.parse_args()
    run(
        args,
        task_type="SEQ_CLS",
        num_labels=len(categories(args)),
        read=read,
        collate=classification.collate,
        evaluate=classification.evaluate,
        evaluated=["test"],
    )


if __name__ == "__main__":
    main()
