"""SQuAD 2.0: reading its JSON, and exact match and F1 by the rules of its official evaluation.

Source of the rules: Rajpurkar, Jia and Liang, "Know What You Don't Know", https://arxiv.org/abs/1806.03822, and the
evaluation script published with the data.
"""

import json
import re
import string
from collections import Counter
from pathlib import Path
from typing import NamedTuple

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


class Question(NamedTuple):
    id: str
    text: str
    context: str
    answers: list[tuple[int, int]]
    """Character spans of the context; empty when the question cannot be answered."""


def read_squad(file: Path) -> list[Question]:
    questions = []
    for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                spans = [(a["answer_start"], a["answer_start"] + len(a["text"])) for a in qa["answers"]]
                questions.append(Question(qa["id"], qa["question"], paragraph["context"], spans))
    return questions


def normalize(text: str) -> str:
    """Lower case, without punctuation (ASCII's) and articles, words parted by one space."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(predicted: str, expected: str) -> float:
    return float(normalize(predicted) == normalize(expected))


def f1(predicted: str, expected: str) -> float:
    """Of the words in common, counted with repetition; 1 if both are empty, 0 if one is."""
    ours, theirs = normalize(predicted).split(), normalize(expected).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = (Counter(ours) & Counter(theirs)).total()
    return 2 * common / (len(ours) + len(theirs))


def squad_scores(questions: list[Question], predictions: dict[str, str]) -> dict[str, float]:
    """In percent, over all questions and over those with and without an answer; "" predicts that there is none."""
    rows = []  # (has an answer, exact match, f1)
    for question in questions:
        texts = [question.context[start:end] for start, end in question.answers]
        expected = [text for text in texts if normalize(text)] or [""]  # what normalizes to nothing is no answer
        predicted = predictions[question.id]
        exact = max(exact_match(predicted, text) for text in expected)
        rows.append((bool(question.answers), exact, max(f1(predicted, text) for text in expected)))

    def part(name: str, rows: list[tuple[bool, float, float]]) -> dict[str, float]:
        count = max(len(rows), 1)
        return {
            f"{name}exact": round(100 * sum(exact for _, exact, _ in rows) / count, 4),
            f"{name}f1": round(100 * sum(f1 for _, _, f1 in rows) / count, 4),
            f"{name}total": len(rows),
        }

    return {
        **part("", rows),
        **part("HasAns_", [row for row in rows if row[0]]),
        **part("NoAns_", [row for row in rows if not row[0]]),
    }
