"""Random LoRA options over all that PEFT offers for these models, and adapters with random weights."""

import peft
import torch

# Targets are known for these only; for others they must be named.
DEFAULT_TARGETS = peft.utils.constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING


def random_options(random, family, model_type, task, config):
    """Keyword arguments of peft.LoraConfig."""
    options = {
        "task_type": task,
        "r": random.choice([1, 2, 3, 4, 8]),
        "lora_alpha": random.choice([1, 4, 8, 16]),
        "target_modules": targets(random, family, model_type, task),
        "use_rslora": random.random() < 0.2,
        "use_dora": random.random() < 0.2,
        "bias": random.choice(["none", "none", "none", "all", "lora_only"]),
        "init_lora_weights": random.choice(
            # pissa_niter_N is random: PEFT itself does not load the same model twice.
            [True, True, True, False, "gaussian", "pissa", "olora", "orthogonal"]
        ),
    }
    is_list = isinstance(options["target_modules"], list)
    if random.random() < 0.15:
        excluded = random.sample(family.linear, 2)
        options["exclude_modules"] = random.choice([excluded, rf".*\.1\..*{excluded[0]}"])
    if is_list and random.random() < 0.15:
        options["layers_to_transform"] = random.choice([0, 1, [0], [1, 2]])
        options["layers_pattern"] = random.choice([None, family.layers, [family.layers]])
    if random.random() < 0.2:
        options["rank_pattern"] = {pattern(random, family): random.choice([1, 2, 5])}
    if random.random() < 0.2:
        options["alpha_pattern"] = {pattern(random, family): random.choice([2, 6, 32])}
    if random.random() < 0.2:
        options["modules_to_save"] = [random.choice(family.saved)]
    if is_list and random.random() < 0.15:
        options["target_modules"].append(random.choice(family.embeddings))
    elif random.random() < 0.1:
        rows = sorted(random.sample(range(config.vocab_size), 3))
        options["trainable_token_indices"] = random.choice([rows, {family.embeddings[0]: rows}])
    if random.random() < 0.03:
        options["lora_bias"] = True
    return options


def targets(random, family, model_type, task):
    choices = ["list", "list", "list", "expression", "all-linear"]
    if model_type in DEFAULT_TARGETS:
        choices.append("default")
    kind = random.choice(choices)
    if kind == "default":
        return None
    # PEFT cannot wrap the heads of other tasks twice; and takes pre_classifier for a layer like others.
    if kind == "all-linear" and task in ("SEQ_CLS", "CAUSAL_LM") and model_type != "distilbert":
        return "all-linear"
    names = random.sample(family.linear, random.randrange(1, 4))
    return names if kind == "list" else rf".*\.(0|2)\..*({'|'.join(name.replace('.', '[.]') for name in names)})"


def pattern(random, family):
    """A key of rank_pattern or alpha_pattern: an ending or a regular expression."""
    name, layers = random.choice(family.linear), family.layers
    return random.choice([name, rf"{layers}\.0\..*", rf"{layers}\.1\..*{name.split('.')[-1]}", f"^{name}"])


def randomize(model, options):
    """Give what is trained random values. Initialisations that read the weights are moved a little only."""
    is_derived = str(options["init_lora_weights"]).startswith(("pissa", "olora", "orthogonal"))
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        noise = torch.randn_like(parameter)
        with torch.no_grad():
            if is_derived or "lora_" not in name or "magnitude" in name:
                parameter.add_(0.05 * noise)
            else:
                parameter.copy_((0.5 if "_A" in name else 0.2) * noise)
