"""RESTAURANTS-8K as questions about spans: writes train.json and test.json in the form of SQuAD 2.0.

    python bench/peers/restaurant8k_to_squad.py --data DIR --output DIR [--train train_1.json]

Each utterance is a paragraph with the question "What is the <slot>?" for every slot that it has a value for, in the
order of SLOTS, then for one slot that it has none for, which is impossible to answer: the utterance's number in the
file, modulo the number of such slots, says which. Whitespace around a value is not part of the answer. Needs nothing
but Python, and writes the same bytes for the same input.
"""

import argparse
import json
from pathlib import Path

SLOTS = ["people", "date", "time", "first_name", "last_name"]


def answer(text: str, label: dict) -> dict:
    """SQuAD's answer to a slot. An absent startIndex is 0; both indices count characters."""
    start, end = label["valueSpan"].get("startIndex", 0), label["valueSpan"]["endIndex"]
    if not 0 <= start < end <= len(text):
        raise ValueError(f"span {start}..{end} is outside the text {text!r}")
    value = text[start:end]
    return {"text": value.strip(), "answer_start": start + len(value) - len(value.lstrip())}


def paragraph(name: str, number: int, example: dict) -> dict:
    text = example["userInput"]["text"]
    labels = {label["slot"]: label for label in example.get("labels", [])}
    absent = [slot for slot in SLOTS if slot not in labels]
    asked = [slot for slot in SLOTS if slot in labels] + ([absent[number % len(absent)]] if absent else [])
    return {
        "context": text,
        "qas": [
            {
                "id": f"{name}-{number}-{slot}",
                "question": f"What is the {slot.replace('_', ' ')}?",
                "answers": [answer(text, labels[slot])] if slot in labels else [],
                "is_impossible": slot not in labels,
            }
            for slot in asked
        ],
    }


def convert(source: Path, target: Path) -> None:
    examples = json.loads(source.read_text(encoding="utf-8"))
    paragraphs = [paragraph(source.stem, number, example) for number, example in enumerate(examples)]
    document = {"version": "v2.0", "data": [{"title": source.stem, "paragraphs": paragraphs}]}
    target.write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")
    impossible = [qa["is_impossible"] for p in paragraphs for qa in p["qas"]]
    print(f"{target}: {len(paragraphs)} utterances, {len(impossible)} questions, {sum(impossible)} impossible to answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="has train_0.json ... test.json")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--train", default="train_1.json", metavar="FILE", help="default %(default)s")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    convert(args.data / args.train, args.output / "train.json")
    convert(args.data / "test.json", args.output / "test.json")


if __name__ == "__main__":
    main()
