"""What a training run varies in: its recipe, and examples with labels. Nothing in it is random once training begins."""

from families import has_window

IGNORED = -100


def random_training(random, task, problem_type, labels, config):
    """A run as training.json has it."""
    is_classified = task == "TOKEN_CLS" or (task == "SEQ_CLS" and problem_type == "single_label_classification")
    weights = [round(random.uniform(0.2, 3), 2) for _ in range(labels)]
    lora_plus = random.choice([None, None, {"ratio": random.choice([4, 16]), "embedding": 1e-3}])
    # The highest of all rates: steps that are too long make rounding grow, and little can be compared.
    rate = 10 ** random.uniform(-4, -2.5)
    return {
        "labels": labels,
        "recipe": {
            "batch_size": random.choice([2, 3, 4]),
            "gradient_accumulation": random.choice([1, 2, 3]),
            "steps": random.choice([3, 4, 5]),
            "schedule": random.choice(["constant", "linear", "cosine"]),
            # Steps, or a share of all steps.
            "warmup": random.choice([0, 0, 1, 2, 0.3]),
            "learning_rate": rate / lora_plus["ratio"] if lora_plus else rate,
            "weight_decay": random.choice([0.0, 0.01, 0.1]),
            "betas": random.choice([[0.9, 0.999], [0.9, 0.999], [0.8, 0.95]]),
            "eps": random.choice([1e-8, 1e-6]),
            # 0: no clipping; the smallest clips nearly always.
            "max_grad_norm": random.choice([0.0, 1.0, 0.1]),
            "lora_plus": lora_plus,
            "class_weights": weights if is_classified and random.random() < 0.4 else None,
            # Gradients and update in one program, or apart.
            "split": random.random() < 0.3,
        },
        "examples": random_examples(random, task, problem_type, labels, config),
    }


def random_examples(random, task, problem_type, labels, config):
    """Token ids of different lengths with what is to be learned from them."""
    tokens = [token for token in range(config.vocab_size) if token != config.pad_token_id]
    # Where padding is not determined, spans, which are sought in it as well, have texts of one length.
    fixed = random.randrange(4, 12) if task == "QUESTION_ANS" and has_window(config) else None
    is_pair = task == "SEQ_CLS" and getattr(config, "type_vocab_size", 1) > 1 and random.random() < 0.5
    examples = []
    for _ in range(random.randrange(7, 12)):
        length = fixed or random.randrange(3, 13)
        example = {"input_ids": [random.choice(tokens) for _ in range(length)]}
        if is_pair:
            first = random.randrange(1, length)
            example["token_type_ids"] = [int(place >= first) for place in range(length)]
        examples.append(example | random_target(random, task, problem_type, labels, example["input_ids"]))
    return examples


def random_target(random, task, problem_type, labels, ids):
    length = len(ids)
    if task == "QUESTION_ANS":
        start = random.randrange(length)
        return {"start": start, "end": random.randrange(start, length)}
    if task == "CAUSAL_LM":
        prompt = random.randrange(length - 1)
        return {"labels": [IGNORED] * prompt + ids[prompt:]}
    if task == "TOKEN_CLS":
        own = [random.choice([IGNORED, random.randrange(labels)]) for _ in ids]
        own[random.randrange(length)] = random.randrange(labels)
        return {"labels": own}
    if problem_type == "regression":
        return {"target": random.gauss(0, 1)}
    if problem_type == "multi_label_classification":
        return {"target": sorted(random.sample(range(labels), random.randrange(labels + 1)))}
    return {"target": random.randrange(labels)}
