"""Loading what is in a case's folder."""

import warnings

import peft
import torch
from families import TASKS


def load_base(folder, task):
    return TASKS[task].from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager").eval()


def load_adapter(folder, task, name, trainable=False, change_base=lambda base: base):
    """The model with an adapter, and the warnings on the way."""
    base = change_base(load_base(folder, task))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapted = peft.PeftModel.from_pretrained(base, folder / name, is_trainable=trainable).eval()
    return adapted, sorted({str(warning.message) for warning in caught})
