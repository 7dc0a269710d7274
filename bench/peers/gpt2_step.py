"""Time of one training step on GPT-2 124M (random weights, two labels), in PyTorch: LoRA, or with `--method full` all weights.

    --peer torch   plain PyTorch: a model written out by hand, LoRA around every nn.Linear, the head included, as in
                   appendix E of the book "Build a Large Language Model (From Scratch)"; loss on the last position.
    --peer peft    transformers' GPT2ForSequenceClassification with PEFT adapters on c_attn, c_proj and c_fc and a
                   fully trained score layer.

Prints one JSON document on stdout. The same batch is used for every step.
"""

import argparse
import math
import time

import torch
import torch.nn.functional as F
from torch import nn

from measure import environment, peak_rss_bytes, print_json, summary, trainable_parameters

# transformers.GPT2Config()'s values, so that the plain peer needs no transformers.
VOCABULARY, POSITIONS, HIDDEN, LAYERS, HEADS, LABELS = 50257, 1024, 768, 12, 12, 2


# --- plain PyTorch -------------------------------------------------------------------------------------------------


class LoRALayer(nn.Module):
    """A [in, r] random, B [r, out] zero; the change is alpha * (x A B), alpha not divided by r."""

    def __init__(self, in_features: int, out_features: int, rank: int, alpha: float):
        super().__init__()
        self.A = nn.Parameter(torch.empty(in_features, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.B = nn.Parameter(torch.zeros(rank, out_features))
        self.alpha = alpha

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.alpha * (x @ self.A @ self.B)

    def add_to(self, base: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """base + forward(x) in one multiplication: neither the scaled product nor the sum costs a pass of its own."""
        rows = torch.addmm(base.flatten(0, -2), x.flatten(0, -2) @ self.A, self.B, alpha=self.alpha)
        return rows.view_as(base)


class LinearWithLoRA(nn.Module):
    def __init__(self, linear: nn.Linear, rank: int, alpha: float, fused: bool):
        super().__init__()
        self.linear = linear
        self.lora = LoRALayer(linear.in_features, linear.out_features, rank, alpha)
        self.fused = fused

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        base = self.linear(x)
        return self.lora.add_to(base, x) if self.fused else base + self.lora(x)


def replace_linear_with_lora(model: nn.Module, rank: int, alpha: float, fused: bool) -> None:
    for name, module in model.named_children():
        if isinstance(module, nn.Linear):
            setattr(model, name, LinearWithLoRA(module, rank, alpha, fused))
        else:
            replace_linear_with_lora(module, rank, alpha, fused)


class MultiHeadAttention(nn.Module):
    def __init__(self, dropout: float, attention: str):
        super().__init__()
        self.query = nn.Linear(HIDDEN, HIDDEN)
        self.key = nn.Linear(HIDDEN, HIDDEN)
        self.value = nn.Linear(HIDDEN, HIDDEN)
        self.out_proj = nn.Linear(HIDDEN, HIDDEN)
        self.dropout = dropout
        self.manual = attention == "manual"
        self.register_buffer("future", torch.triu(torch.ones(POSITIONS, POSITIONS, dtype=torch.bool), 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, C = x.shape
        q, k, v = (
            f(x).view(B, T, HEADS, C // HEADS).transpose(1, 2)  # [B, H, T, D]
            for f in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        if self.manual:
            scores = (q @ k.transpose(2, 3)) / math.sqrt(C // HEADS)  # [B, H, T, T]
            weights = scores.masked_fill_(self.future[:T, :T], -torch.inf).softmax(-1)
            y = F.dropout(weights, dropout, self.training) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(B, T, C))


class TransformerBlock(nn.Module):
    def __init__(self, dropout: float, attention: str):
        super().__init__()
        self.norm1 = nn.LayerNorm(HIDDEN)
        self.attention = MultiHeadAttention(dropout, attention)
        self.norm2 = nn.LayerNorm(HIDDEN)
        self.up = nn.Linear(HIDDEN, 4 * HIDDEN)
        self.down = nn.Linear(4 * HIDDEN, HIDDEN)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh")))


class GPTClassifier(nn.Module):
    def __init__(self, dropout: float, attention: str):
        super().__init__()
        self.token_embedding = nn.Embedding(VOCABULARY, HIDDEN)
        self.position_embedding = nn.Embedding(POSITIONS, HIDDEN)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(TransformerBlock(dropout, attention) for _ in range(LAYERS)))
        self.final_norm = nn.LayerNorm(HIDDEN)
        self.head = nn.Linear(HIDDEN, LABELS, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(ids.shape[1])
        x = self.drop(self.token_embedding(ids) + self.position_embedding(positions))
        x = self.blocks(x)[:, -1]  # [B, C]: the norm and the head see the last position only
        return self.head(self.final_norm(x))


def plain_model(args: argparse.Namespace) -> nn.Module:
    model = GPTClassifier(args.dropout, args.attention)
    if args.method == "full":
        return model
    model.requires_grad_(False)
    replace_linear_with_lora(model, args.rank, args.alpha, fused=args.lora == "fused")
    return model


# --- transformers and PEFT -----------------------------------------------------------------------------------------


def peft_model(args: argparse.Namespace) -> nn.Module:
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(num_labels=LABELS, embd_pdrop=args.dropout, attn_pdrop=args.dropout, resid_pdrop=args.dropout)
    config.pad_token_id = VOCABULARY - 1  # asked for as soon as a batch has two messages; never drawn below
    config.use_cache = False
    config._attn_implementation = "eager" if args.attention == "manual" else "sdpa"
    if args.method == "full":
        return GPT2ForSequenceClassification(config)
    lora = LoraConfig(
        task_type="SEQ_CLS",
        r=args.rank,
        lora_alpha=args.alpha,
        lora_dropout=0.0,
        target_modules=["c_attn", "c_proj", "c_fc"],
        fan_in_fan_out=True,
        modules_to_save=["score"],
    )
    return get_peft_model(GPT2ForSequenceClassification(config), lora)


def loss_function(args: argparse.Namespace, model: nn.Module):
    if args.peer == "torch":
        return lambda ids, labels: F.cross_entropy(model(ids), labels)
    return lambda ids, labels: model(input_ids=ids, labels=labels).loss


# --- measurement ---------------------------------------------------------------------------------------------------


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=["torch", "peft"], required=True)
    parser.add_argument("--method", choices=["lora", "full"], default="lora", help="full: all weights are trained")
    parser.add_argument("--steps", type=int, default=20, help="timed steps (default 20)")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the clock starts (default 3)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=120)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=123)
    parser.add_argument("--attention", choices=["sdpa", "manual"], default="sdpa", help="default sdpa: as fast as manual when measured, in less memory")
    parser.add_argument("--lora", choices=["fused", "book"], default="fused", help="torch peer: fused add, or the book's")
    parser.add_argument("--optimizer", choices=["fused", "foreach", "loop"], default="fused")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model (needs a C++ compiler)")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    model = (plain_model if args.peer == "torch" else peft_model)(args).train()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable, lr=8e-4, weight_decay=0.1, fused=args.optimizer == "fused", foreach=args.optimizer == "foreach"
    )
    compute_loss = loss_function(args, torch.compile(model) if args.compile else model)
    ids = torch.randint(0, VOCABULARY - 1, (args.batch, args.length))
    labels = torch.arange(args.batch) % LABELS

    losses, times_ms = [], []
    for step in range(args.warmup + args.steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = compute_loss(ids, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step >= args.warmup:
            times_ms.append((time.perf_counter() - start) * 1e3)

    times = summary(times_ms)
    tokens = args.batch * args.length
    print_json({
        **environment(),
        **vars(args),
        "trainable_parameters": trainable_parameters(model),
        "step_ms": [round(t, 1) for t in times_ms],
        **times,
        "tokens_per_second": round(tokens / times["median_ms"] * 1e3, 1),
        "tokens_per_second_best": round(tokens / times["min_ms"] * 1e3, 1),
        "peak_rss_bytes": peak_rss_bytes(),
        "losses": [round(x, 5) for x in losses],
    })


if __name__ == "__main__":
    main()
