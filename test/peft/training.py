"""Training with PyTorch, transformers and PEFT what was trained here: the same batches from the same adapter."""

import json

import torch
import transformers
from families import has_window
from loading import load_adapter
from peft import get_peft_model_state_dict
from peft.optimizers import create_loraplus_optimizer
from recipe import IGNORED

# Runs in float32 beside the one in float64.
SAMPLES = 3
# How much of the difference between PyTorch's own float32 and float64 is allowed here.
FACTOR = 10
# Rounding of what is computed otherwise, relative.
RELATIVE = 1e-5
# A parameter is determined when rounding can move it by no more than this share of the longest way that Adam takes.
DETERMINED = 0.01


class Run:
    """A training run in one data type."""

    def __init__(self, model, case, training):
        # Not in training mode: some heads have a dropout that no key of the configuration speaks of.
        self.model, self.case, self.training = model.eval(), case, training
        recipe = training["recipe"]
        self.parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.optimizer = make_optimizer(model, recipe)
        warmup, steps = recipe["warmup"], recipe["steps"]
        arguments = transformers.TrainingArguments("unused", warmup_steps=warmup, max_steps=steps, use_cpu=True)
        kind = "constant_with_warmup" if recipe["schedule"] == "constant" and warmup else recipe["schedule"]
        self.scheduler = transformers.get_scheduler(
            kind, self.optimizer, num_warmup_steps=arguments.get_warmup_steps(steps), num_training_steps=steps
        )

    def step(self, micro_batches):
        """Loss, gradient norm and learning rate of a step; the gradients stay, clipped."""
        self.optimizer.zero_grad()
        sums = [self.loss_sum(indices, length) for indices, length in self.groups(micro_batches)]
        loss = sum(total for total, _ in sums) / sum(count for _, count in sums)
        loss.backward()
        longest = self.training["recipe"]["max_grad_norm"] or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), longest)
        rates = self.scheduler.get_last_lr()
        for group, rate in zip(self.optimizer.param_groups, rates):
            group["used_lr"] = rate
        self.optimizer.step()
        self.scheduler.step()
        return {"losses": loss.item(), "grad_norms": norm.item(), "learning_rates": rates[0]}

    def groups(self, micro_batches):
        """What is computed together: the whole batch, as far as padding changes nothing."""
        if self.case["task"] == "QUESTION_ANS":
            return [(batch["examples"], batch["length"]) for batch in micro_batches]
        indices = [index for batch in micro_batches for index in batch["examples"]]
        lengths = {index: len(self.training["examples"][index]["input_ids"]) for index in indices}
        if has_window(self.model.config):
            return [([index], lengths[index]) for index in indices]
        return [(indices, max(lengths.values()))]

    def loss_sum(self, indices, length):
        """The sum of the losses, and of how many labels or of which weight."""
        dtype = next(self.model.parameters()).dtype
        examples = [self.training["examples"][index] for index in indices]
        inputs = collate(self.case, self.training["labels"], examples, length, self.model.config.pad_token_id)
        inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
        result = self.model(**inputs)
        weights = self.training["recipe"]["class_weights"]
        if weights:
            weights, labels = torch.tensor(weights, dtype=dtype), inputs["labels"].flatten()
            logits = result.logits.reshape(len(labels), -1)
            total = torch.nn.functional.cross_entropy(logits, labels, weights, reduction="sum", ignore_index=IGNORED)
            return total, weights[labels[labels != IGNORED]].sum()
        count = label_count(self.case["task"], inputs)
        return result.loss * count, count


def make_optimizer(model, recipe):
    common = {"betas": recipe["betas"], "eps": recipe["eps"], "lr": recipe["learning_rate"]}
    decay, plus = recipe["weight_decay"], recipe["lora_plus"]
    if plus is None:
        trained = [value for value in model.parameters() if value.requires_grad]
        return torch.optim.AdamW(trained, weight_decay=decay, **common)
    return create_loraplus_optimizer(
        model,
        torch.optim.AdamW,
        loraplus_lr_ratio=plus["ratio"],
        loraplus_lr_embedding=plus["embedding"],
        loraplus_weight_decay=decay,
        **common,
    )


def collate(case, labels, examples, length, pad):
    """A batch, padded on the right to a length."""

    def rows(key, fill):
        return torch.tensor([example[key] + [fill] * (length - len(example[key])) for example in examples])

    inputs = {"input_ids": rows("input_ids", pad)}
    lengths = torch.tensor([[len(example["input_ids"])] for example in examples])
    inputs["attention_mask"] = (torch.arange(length) < lengths).long()
    if "token_type_ids" in examples[0]:
        inputs["token_type_ids"] = rows("token_type_ids", 0)
    if case["task"] == "QUESTION_ANS":
        places = {f"{end}_positions": torch.tensor([example[end] for example in examples]) for end in ("start", "end")}
        return inputs | places
    if case["task"] != "SEQ_CLS":
        return inputs | {"labels": rows("labels", IGNORED)}
    targets = [example["target"] for example in examples]
    if case["problem_type"] == "multi_label_classification":
        targets = [[float(label in own) for label in range(labels)] for own in targets]
    return inputs | {"labels": torch.tensor(targets)}


def label_count(task, inputs):
    if task == "QUESTION_ANS":
        return len(inputs["input_ids"])
    if task == "SEQ_CLS":
        return inputs["labels"].numel()
    labels = inputs["labels"][:, 1:] if task == "CAUSAL_LM" else inputs["labels"]
    return (labels != IGNORED).sum().item()


def train_again(folder, case):
    """What differs, and how much of what was trained could be compared."""
    training = json.loads((folder / "training.json").read_text())
    ours = json.loads((folder / "trained" / "steps.json").read_text())
    torch.manual_seed(0)
    exact = Run(load_adapter(folder, case["task"], "adapter", trainable=True)[0].double(), case, training)
    rounded = [Run(rounded_model(folder, case), case, training) for _ in range(SAMPLES)]
    bounds = Bounds(exact, rounded)
    steps = []
    for micro_batches in ours["micro_batches"]:
        steps.append([run.step(micro_batches) for run in (exact, *rounded)])
        bounds.widen()
    found = number_differences(ours, steps)
    trained = sum(value.numel() for name, value in exact.parameters.items() if not is_replaced(name))
    if ours["trainable"] != trained:
        found.append(f"{ours['trainable']} trainable numbers instead of {trained}")
    tensors, counts = tensor_differences(folder, case, bounds)
    return found + tensors, counts


def rounded_model(folder, case):
    """A model that rounds in its own way, also what is left of its weights when their parts are taken out."""
    return perturbed(load_adapter(folder, case["task"], "adapter", trainable=True, change_base=perturbed)[0])


@torch.no_grad()
def perturbed(model):
    """The model with weights that are others by the rounding of float32."""
    for value in model.parameters():
        value.mul_(1 + 2**-24 * torch.randn_like(value))
    return model


def is_replaced(name):
    """Whether it is of a module that another one has taken the place of; its biases are "all" biases, too."""
    return "original_module" in name


def number_differences(ours, steps):
    found = []
    for name in ("losses", "grad_norms", "learning_rates"):
        exact, *rounded = torch.tensor([[run[name] for run in runs] for runs in steps], dtype=torch.float64).T
        noise = max((one - exact).abs().max() for one in rounded)
        allowed = FACTOR * noise + RELATIVE * exact.abs().max() if name != "learning_rates" else 1e-12
        off = (torch.tensor(ours[name], dtype=torch.float64) - exact).abs().max()
        if not off <= allowed:
            found.append(f"{name}: off by {off:.1e}, allowed {allowed:.1e}: {ours[name]} instead of {exact.tolist()}")
    return found


class Bounds:
    """How far rounding may move each parameter: as far as it changes the gradient, over what Adam divides by. Where the gradient is
    nothing but rounding, as that of a key's bias, this is about as far as Adam goes, and nothing can be compared."""

    def __init__(self, exact, rounded):
        self.exact, self.rounded = exact, rounded
        self.spread = {name: torch.zeros_like(value) for name, value in exact.parameters.items()}
        # The longest way that Adam may take.
        self.way = dict.fromkeys(exact.parameters, 0.0)
        self.steps = 0

    def widen(self):
        """Add a step that all runs have made."""
        self.steps += 1
        groups = {id(value): group for group in self.exact.optimizer.param_groups for value in group["params"]}
        for name, value in self.exact.parameters.items():
            if value.grad is None:
                continue
            group, state = groups[id(value)], self.exact.optimizer.state[value]
            noises = [(run.parameters[name].grad.double() - value.grad).abs() for run in self.rounded]
            noise = torch.stack(noises).amax(0)
            mean = state["exp_avg_sq"] / (1 - group["betas"][1] ** state["step"])
            # Gradients that have been nothing but zeros are exact; others are taken for as coarse as the tensor's coarsest.
            is_exact = (mean == 0) & (noise == 0)
            change = noise.max() / (mean.sqrt() + group["eps"])
            self.spread[name] += group["used_lr"] * change.masked_fill(is_exact, 0)
            self.way[name] += group["used_lr"]

    def allowed(self):
        """The difference that is allowed to each parameter, infinite where it is not determined."""
        for name, value in self.exact.parameters.items():
            way, spread = self.way[name], FACTOR * self.spread[name]
            rounding = self.steps * 2**-23 * value.detach().abs() + 1e-6 * way
            yield name, (spread + rounding).masked_fill(spread > DETERMINED * way, float("inf"))


@torch.no_grad()
def tensor_differences(folder, case, bounds):
    model, exact = bounds.exact.model, stored(bounds.exact.model)
    torchs = [stored(run.model) for run in bounds.rounded]
    start = stored(load_adapter(folder, case["task"], "adapter")[0])
    ours = stored(load_adapter(folder, case["task"], "trained")[0])
    allowed = dict(bounds.allowed())
    for name, value in model.named_parameters():
        # What is not trained must be what it was.
        value.copy_(allowed[name] if name in allowed else torch.zeros_like(value))
    found, counts = [], {"compared": 0, "left_out": 0, "used": 0.0, "used_by_torch": 0.0}
    for key, bound in stored(model).items():
        if key not in ours:
            found.append(f"{key}: not stored")
            continue
        if not bound.any():
            found += [] if torch.equal(ours[key], start[key]) else [f"{key}: changed without training"]
            continue
        off = (ours[key] - exact[key]).abs()
        if not (off <= bound).all():
            place = (off / bound).argmax()
            found.append(
                f"{key}: {(off > bound).sum()} of {off.numel()} off, by {off.flatten()[place]:.1e}, "
                f"allowed {bound.flatten()[place]:.1e}, moved {(exact[key] - start[key]).abs().max():.1e}"
            )
        is_determined = bound.isfinite()
        counts["compared"] += is_determined.sum().item()
        counts["left_out"] += (~is_determined).sum().item()
        counts["used"] = max(counts["used"], share(off, bound))
        torch_off = max(share((tensors[key] - exact[key]).abs(), bound) for tensors in torchs)
        counts["used_by_torch"] = max(counts["used_by_torch"], torch_off)
    return found, counts


def share(off, bound):
    """The largest part of what is allowed."""
    return torch.where(off > 0, off / bound, 0).max().item()


def stored(model):
    """An adapter's tensors in double precision, without what another module has taken the place of."""
    return {
        name: value.double().clone()
        for name, value in get_peft_model_state_dict(model).items()
        if not is_replaced(name)
    }
