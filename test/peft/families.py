"""Small random models of every family: what their configurations vary in, and what their modules are called."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers

TASKS = {
    "SEQ_CLS": transformers.AutoModelForSequenceClassification,
    "TOKEN_CLS": transformers.AutoModelForTokenClassification,
    "QUESTION_ANS": transformers.AutoModelForQuestionAnswering,
    "CAUSAL_LM": transformers.AutoModelForCausalLM,
}
ENCODER_TASKS = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")


@dataclass(frozen=True)
class Family:
    """A model_type: its tasks, the names that adapters refer to, and its random configuration."""

    tasks: tuple
    linear: tuple  # endings of the paths of linear layers
    embeddings: tuple  # those that can be adapted
    layers: str  # the name of the list of layers
    saved: tuple  # modules that are worth saving whole, besides the head
    config: Callable  # random generator → keys of the configuration


def sizes(random, heads=(2, 4), layers=(2, 3)):
    """The width, layers and heads that all families have."""
    count = random.choice(heads)
    return {
        "hidden_size": count * random.choice([8, 16]),
        "num_hidden_layers": random.choice(layers),
        "num_attention_heads": count,
        "intermediate_size": random.choice([24, 40, 48]),
        "vocab_size": random.randrange(40, 90),
        "max_position_embeddings": 40,
    }


def bert(random):
    return sizes(random) | {
        "hidden_act": random.choice(["gelu", "gelu", "gelu_new", "relu", "silu"]),
        "type_vocab_size": random.choice([1, 2]),
        "layer_norm_eps": random.choice([1e-12, 1e-5]),
    }


def roberta(random):
    return sizes(random) | {"pad_token_id": random.choice([0, 1, 3]), "type_vocab_size": 1}


def distilbert(random):
    common = sizes(random)
    return {
        "dim": common["hidden_size"],
        "n_layers": common["num_hidden_layers"],
        "n_heads": common["num_attention_heads"],
        "hidden_dim": common["intermediate_size"],
        "vocab_size": common["vocab_size"],
        "max_position_embeddings": 40,
        "activation": random.choice(["gelu", "relu"]),
        "sinusoidal_pos_embds": random.choice([True, False]),
    }


def modernbert(random):
    common = sizes(random, layers=(3, 4))
    kinds = random.choice([None, ["full_attention", "sliding_attention"]])
    return common | {
        "local_attention": random.choice([4, 6, 7]),
        "global_attn_every_n_layers": random.choice([2, 3]),
        "layer_types": kinds and [random.choice(kinds) for _ in range(common["num_hidden_layers"])],
        "classifier_pooling": random.choice(["cls", "mean"]),
        "classifier_activation": random.choice(["gelu", "silu"]),
        **{f"{part}_bias": random.random() < 0.3 for part in ("norm", "attention", "mlp", "classifier")},
    }


def gpt2(random):
    common = sizes(random)
    return {
        "n_embd": common["hidden_size"],
        "n_layer": common["num_hidden_layers"],
        "n_head": common["num_attention_heads"],
        "n_inner": random.choice([None, common["intermediate_size"]]),
        "n_positions": 40,
        "vocab_size": common["vocab_size"],
        "activation_function": random.choice(["gelu_new", "gelu", "relu"]),
        "scale_attn_by_inverse_layer_idx": random.random() < 0.3,
        "tie_word_embeddings": random.random() < 0.7,
    }


def rope(random):
    """Rotary settings in the form of transformers 5."""
    theta = random.choice([10000.0, 500000.0])
    kind = random.choice(["default", "default", "linear", "llama3"])
    if kind == "default":
        return {"rope_type": kind, "rope_theta": theta}
    if kind == "linear":
        return {"rope_type": kind, "rope_theta": theta, "factor": 2.0}
    return {
        "rope_type": kind,
        "rope_theta": theta,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    }


def grouped(random):
    """The sizes of a decoder whose query heads share keys and values."""
    common = sizes(random, heads=(2, 4))
    groups = random.choice([1, 2, common["num_attention_heads"]])
    return common | {
        "num_key_value_heads": groups,
        "tie_word_embeddings": random.random() < 0.4,
        "rms_norm_eps": random.choice([1e-6, 1e-5]),
    }


def llama(random):
    biases = {f"{part}_bias": random.random() < 0.3 for part in ("attention", "mlp")}
    return grouped(random) | biases | {"rope_parameters": rope(random), "head_dim": random.choice([None, 8])}


def mistral(random):
    return grouped(random) | {"sliding_window": random.choice([None, 4]), "head_dim": random.choice([None, 8])}


def qwen2(random):
    return grouped(random)


def qwen3(random):
    return grouped(random) | {"head_dim": random.choice([8, 16]), "attention_bias": random.random() < 0.3}


def gemma2(random):
    return grouped(random) | {
        "head_dim": random.choice([8, 16]),
        "query_pre_attn_scalar": random.choice([8, 16]),
        "sliding_window": 4,
        "attn_logit_softcapping": random.choice([50.0, 5.0]),
        "final_logit_softcapping": random.choice([30.0, 5.0]),
    }


def gemma3_text(random):
    return grouped(random) | {
        "num_hidden_layers": 3,
        "head_dim": random.choice([8, 16]),
        "query_pre_attn_scalar": random.choice([8, 16]),
        "sliding_window": 4,
        "layer_types": ["sliding_attention", random.choice(["sliding_attention", "full_attention"]), "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    }


def gpt_neox(random):
    return sizes(random) | {
        "use_parallel_residual": random.random() < 0.5,
        "attention_bias": random.random() < 0.7,
        "hidden_act": random.choice(["gelu", "gelu_new"]),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": random.choice([0.25, 0.5, 1.0]),
        },
        "tie_word_embeddings": random.random() < 0.3,
    }


BERT_LINEAR = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "dense")
LLAMA_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "mlp.up_proj")


def encoder(linear, embeddings, layers, saved, config):
    return Family(ENCODER_TASKS, linear, embeddings, layers, saved, config)


def decoder(config, tasks=tuple(TASKS)):
    return Family(tasks, LLAMA_LINEAR, ("embed_tokens",), "layers", ("norm", "q_proj"), config)


FAMILIES = {
    "bert": encoder(BERT_LINEAR, ("word_embeddings",), "layer", ("LayerNorm", "embeddings.LayerNorm", "pooler"), bert),
    "roberta": encoder(BERT_LINEAR, ("word_embeddings",), "layer", ("LayerNorm",), roberta),
    "xlm-roberta": encoder(BERT_LINEAR, ("word_embeddings",), "layer", ("LayerNorm",), roberta),
    "distilbert": encoder(
        ("q_lin", "k_lin", "v_lin", "out_lin", "lin1", "ffn.lin2"),
        ("word_embeddings", "position_embeddings"),
        "layer",
        ("sa_layer_norm",),
        distilbert,
    ),
    "modernbert": encoder(
        ("Wqkv", "Wo", "Wi", "attn.Wo", "mlp.Wo", "head.dense"),
        ("tok_embeddings",),
        "layers",
        ("head", "final_norm"),
        modernbert,
    ),
    "gpt2": Family(
        tuple(TASKS), ("c_attn", "c_proj", "c_fc", "attn.c_proj", "mlp.c_proj"), ("wte", "wpe"), "h", ("ln_f",), gpt2
    ),
    "llama": decoder(llama),
    "mistral": decoder(mistral),
    "qwen2": decoder(qwen2),
    "qwen3": decoder(qwen3),
    "gemma2": decoder(gemma2, ("SEQ_CLS", "TOKEN_CLS", "CAUSAL_LM")),
    "gemma3_text": decoder(gemma3_text, ("SEQ_CLS", "CAUSAL_LM")),
    "gpt_neox": Family(
        tuple(TASKS),
        ("query_key_value", "dense", "dense_h_to_4h", "mlp.dense_4h_to_h"),
        ("embed_in",),
        "layers",
        ("final_layer_norm",),
        gpt_neox,
    ),
}

NO_DROPOUT = ("dropout", "pdrop")


def random_model(random, model_type, task, labels, problem_type):
    """A model with random weights, biases and norms included, and no dropout."""
    keys = {"pad_token_id": None} | FAMILIES[model_type].config(random)
    if keys["pad_token_id"] is None:
        keys["pad_token_id"] = keys["vocab_size"] - 1
    keys |= {"bos_token_id": None, "eos_token_id": None}
    if task in ("SEQ_CLS", "TOKEN_CLS"):
        keys["num_labels"] = labels
    if task == "SEQ_CLS":
        keys["problem_type"] = problem_type
    config = transformers.CONFIG_MAPPING[model_type](**keys)
    for name in list(vars(config)):
        if any(part in name for part in NO_DROPOUT):
            setattr(config, name, 0.0)
    model = TASKS[task].from_config(config, attn_implementation="eager")
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif "position_embeddings" not in name or not getattr(config, "sinusoidal_pos_embds", False):
                parameter.normal_(0, 0.25)
    return model.eval()


def has_window(config):
    """Whether some tokens may see padding only, so that their outputs are not determined."""
    return getattr(config, "sliding_window", None) is not None or config.model_type == "modernbert"
