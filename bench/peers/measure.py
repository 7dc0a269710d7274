"""What every peer script reports about its process and machine. Used by the scripts next to this file."""

import json
import platform
import resource
import statistics
import sys

import torch


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far. The kernel counts in KiB, except on macOS (bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def environment() -> dict:
    """Versions and settings that a time is meaningless without."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def summary(times_ms: list[float]) -> dict:
    """Median and minimum of step times: the minimum is what a shared machine can still be compared by."""
    return {"median_ms": round(statistics.median(times_ms), 2), "min_ms": round(min(times_ms), 2)}


def trainable_parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def print_json(document: dict) -> None:
    print(json.dumps(document, indent=2))
