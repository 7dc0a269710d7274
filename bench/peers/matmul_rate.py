"""The machine's float32 matrix-multiplication rate with PyTorch: the ceiling of every step on it.

Prints one JSON document. The default shape is GPT-2's widest layer for a batch of 8 messages of 120 tokens.
"""

import argparse
import time

import torch

from measure import environment, print_json, summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--m", type=int, default=960)
    parser.add_argument("--k", type=int, default=768)
    parser.add_argument("--n", type=int, default=3072)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    x = torch.randn(args.m, args.k)
    weight = torch.randn(args.n, args.k)  # [out, in], as nn.Linear stores it
    out = torch.empty(args.m, args.n)  # reused: the multiplication is measured, not the allocator
    times_ms = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        torch.mm(x, weight.T, out=out)
        times_ms.append((time.perf_counter() - start) * 1e3)

    times = summary(times_ms)
    flop = 2 * args.m * args.k * args.n
    print_json({
        "peer": "torch-matmul",
        **environment(),
        "shape": [args.m, args.k, args.n],
        **times,
        "best_gflops": round(flop / times["min_ms"] / 1e6, 1),
        "median_gflops": round(flop / times["median_ms"] / 1e6, 1),
    })


if __name__ == "__main__":
    main()
