"""The Python side of the comparison with transformers and PEFT (test/peft/check.ts runs it).

    run.py write DIR --count N --seed S     random models and adapters, one numbered folder each:
                                            model/, adapter/, case.json, case.safetensors, training.json
    run.py verify DIR                       load what was saved beside them (saved/) into PEFT
    run.py train DIR                        train the adapters again, and compare with what was trained (trained/)

`case.json` says what is in the folder, how transformers prints the model, and the error that float32 has
against float64; `case.safetensors` has the inputs, the labels, the expected outputs and the loss.
"""

import argparse
import json
import random
import shutil
import sys
import traceback
import warnings
from pathlib import Path

import peft
import torch
import transformers
from adapters import random_options, randomize
from families import FAMILIES, has_window, random_model
from loading import load_adapter, load_base
from recipe import random_training
from safetensors.torch import load_file, save_file
from training import train_again

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
ATTEMPTS = 30


def write(directory, count, seed):
    refused = 0
    for index in range(count):
        folder = directory / f"{index:04}"
        for attempt in range(ATTEMPTS):
            shutil.rmtree(folder, ignore_errors=True)
            generator = random.Random(f"{seed} {index} {attempt}")
            torch.manual_seed(generator.randrange(2**31))
            try:
                write_case(folder, index, generator)
                break
            except Exception:  # PEFT refuses some combinations: take another one
                refused += 1
                if attempt == ATTEMPTS - 1:
                    raise
    print(json.dumps({"written": count, "refused_by_peft": refused}))


def write_case(folder, index, generator):
    # Every family and task comes up equally often, whatever the seed.
    pairs = [(name, task) for name, family in FAMILIES.items() for task in family.tasks]
    model_type, task = pairs[index % len(pairs)]
    problem_type = generator.choice(["single_label_classification", "multi_label_classification", "regression"])
    labels = 1 if task == "SEQ_CLS" and problem_type == "regression" else generator.randrange(2, 6)
    dtype = generator.choice(["F32", "F32", "F16", "BF16"])
    adapter_dtype = generator.choice(["F32", "F32", "F32", "F16", "BF16"])

    model = random_model(generator, model_type, task, labels, problem_type)
    model.to(DTYPES[dtype]).save_pretrained(folder / "model")
    base = load_base(folder, task)
    tree = str(base)
    options = random_options(generator, FAMILIES[model_type], model_type, task, base.config)
    adapted = peft.get_peft_model(base, peft.LoraConfig(**options))
    randomize(adapted, options)
    adapted.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    store_as(folder / "adapter" / "adapter_model.safetensors", DTYPES[adapter_dtype])

    inputs = random_inputs(generator, task, problem_type, labels, base.config)
    adapted, _ = load_adapter(folder, task, "adapter")
    tensors = {f"input/{name}": tensor for name, tensor in inputs.items()}
    expected, exact = outputs(adapted, inputs), outputs(adapted.double(), inputs)
    errors = {}
    for name, tensor in expected.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} is not finite")
        tensors[f"output/{name}"] = tensor
        # In float64 a row that sees no key is NaN.
        errors[name] = (tensor.double() - exact[name]).abs().nan_to_num(0).max().item()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "case.safetensors")
    case = {
        "model_type": model_type,
        "task": task,
        "problem_type": problem_type if task == "SEQ_CLS" else None,
        "dtype": dtype,
        "adapter_dtype": adapter_dtype,
        "options": options,
        "tree": tree,
        "float32_errors": errors,
    }
    (folder / "case.json").write_text(json.dumps(case, indent=2))
    training = random_training(generator, task, problem_type, labels, base.config)
    (folder / "training.json").write_text(json.dumps(training))


def store_as(file, dtype):
    """Store an adapter's tensors in another type, also weights of the base that are among them: they are then other ones."""
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def random_inputs(generator, task, problem_type, labels, config):
    """Three texts of different lengths, padded; where padding is not determined, of the same length."""
    batch, length = 3, generator.randrange(6, 13)
    is_padded = generator.random() < 0.7 and not (task == "QUESTION_ANS" and has_window(config))
    lengths = [length, *(generator.randrange(2, length) if is_padded else length for _ in range(batch - 1))]
    is_left = task == "CAUSAL_LM" and generator.random() < 0.3
    tokens = [token for token in range(config.vocab_size) if token != config.pad_token_id]
    ids = torch.full((batch, length), config.pad_token_id)
    mask = torch.zeros((batch, length), dtype=torch.int64)
    for row, own in enumerate(lengths):
        place = slice(length - own, length) if is_left else slice(0, own)
        ids[row, place] = torch.tensor([generator.choice(tokens) for _ in range(own)])
        mask[row, place] = 1
    inputs = {"input_ids": ids, "attention_mask": mask}
    if is_left:
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    # PEFT's model for spans does not pass segments on.
    if getattr(config, "type_vocab_size", 1) > 1 and task != "QUESTION_ANS":
        inputs["token_type_ids"] = torch.randint(0, config.type_vocab_size, ids.shape)
    return inputs | random_labels(generator, task, problem_type, labels, inputs)


def random_labels(generator, task, problem_type, labels, inputs):
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    batch, length = ids.shape
    if task == "QUESTION_ANS":
        return {name: torch.randint(0, length, (batch,)) for name in ("start_positions", "end_positions")}
    if task == "SEQ_CLS":
        if problem_type == "regression":
            return {"labels": torch.randn(batch)}
        if problem_type == "multi_label_classification":
            return {"labels": torch.randint(0, 2, (batch, labels)).float()}
        return {"labels": torch.randint(0, labels, (batch,))}
    values = ids if task == "CAUSAL_LM" else torch.randint(0, labels, ids.shape)
    return {"labels": values.masked_fill(mask == 0, -100)}


@torch.no_grad()
def outputs(model, inputs):
    result = model(**{name: cast(model, tensor) for name, tensor in inputs.items()})
    names = [name for name in ("loss", "logits", "start_logits", "end_logits") if name in result]
    return {name: result[name].detach().cpu() for name in names}


def cast(model, tensor):
    return tensor.to(next(model.parameters()).dtype) if tensor.is_floating_point() else tensor


def verify(directory):
    """Compare each saved adapter with PEFT's own: outputs, tensors, options, and warnings."""
    print(json.dumps(compare(directory, "saved", differences)))


def differences(folder, case):
    theirs, known = load_adapter(folder, case["task"], "adapter")
    ours, warned = load_adapter(folder, case["task"], "saved")
    found = [f"warning: {message}" for message in warned if message not in known]
    stored = [peft.get_peft_model_state_dict(model) for model in (theirs, ours)]
    found += [f"key only in {name}: {key}" for name, key in one_sided(*stored)]
    found += [f"values of {key}" for key in stored[0].keys() & stored[1].keys() if not equal(key, *stored)]
    options = [peft.LoraConfig.from_pretrained(folder / name).to_dict() for name in ("adapter", "saved")]
    found += [f"{key}: {options[0][key]} became {options[1][key]}" for key in options[0] if not same(key, *options)]
    tensors = load_file(folder / "case.safetensors")
    inputs = {name.split("/")[1]: tensor for name, tensor in tensors.items() if name.startswith("input/")}
    for name, tensor in outputs(ours, inputs).items():
        if not torch.equal(tensor, tensors[f"output/{name}"]):
            found.append(f"{name}: differs by {(tensor - tensors[f'output/{name}']).abs().max().item():.1e}")
    return found


def train(directory):
    """Train each adapter that was trained here as well, and compare the steps and what came out."""
    counts = {}

    def differences_of_training(folder, case):
        found, counts[folder.name] = train_again(folder, case)
        return found

    result = compare(directory, "trained/steps.json", differences_of_training)
    print(json.dumps({**result, "counts": counts}))


def compare(directory, made, differences_of):
    """What `differences_of` finds in each case for which `made` is there; an exception is a difference, too."""
    passed, problems = 0, {}
    for folder in sorted(path for path in directory.iterdir() if (path / made).exists()):
        try:
            found = differences_of(folder, json.loads((folder / "case.json").read_text()))
        except Exception as error:
            found = [f"{type(error).__name__}: {error}", traceback.format_exc(limit=-3)]
        if found:
            problems[folder.name] = found
        else:
            passed += 1
    return {"passed": passed, "problems": problems}


def one_sided(theirs, ours):
    yield from (("PEFT's", key) for key in sorted(theirs.keys() - ours.keys()))
    yield from (("ours", key) for key in sorted(ours.keys() - theirs.keys()))


def equal(key, theirs, ours):
    # With all biases trained, PEFT also stores those that a module saved whole has taken the place of.
    return "original_module" in key or torch.equal(theirs[key], ours[key])


def same(key, theirs, ours):
    """Whether an option is the same; where it was read from, and the order of names, are no matter."""
    if key in ("base_model_name_or_path", "peft_version", "auto_mapping", "revision"):
        return True
    a, b = theirs[key], ours[key]
    # A start that leaves the base as it is means nothing to a stored adapter.
    if key == "init_lora_weights" and a == "orthogonal":
        return b in (True, a)
    if key in ("modules_to_save", "target_modules", "exclude_modules"):
        a, b = (set(x) if isinstance(x, (list, set)) else x for x in (a, b))
    return a == b


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["write", "verify", "train"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if arguments.command == "write":
        write(arguments.directory, arguments.count, arguments.seed)
    elif arguments.command == "verify":
        verify(arguments.directory)
    else:
        train(arguments.directory)


if __name__ == "__main__":
    sys.exit(main())
