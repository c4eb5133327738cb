"""Small decoder folders in Hugging Face layout, with random weights: real to every loader, quick to load."""

from __future__ import annotations

import json
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[np.float32]]

HIDDEN: Final = 32
LAYERS: Final = 2
HEADS: Final = 4
GROUPS: Final = 2
"""Heads of keys and values, where a family shares them."""
INNER: Final = 4 * HIDDEN
"""KerasHub takes four times the width for GPT-2, whatever the configuration says."""
POSITIONS: Final = 64
_WORDS = ("a", "film", "about", "love", "war", "space", "the", "of", "and", "in")

_ADDED: Final = ("<|endoftext|>", "<s>", "</s>", "<bos>", "<eos>", "<mask>")
"""What transformers' tokenizers of some families add by themselves when it is not there."""


def write_tiny_decoder(folder: Path, family: str = "gpt2") -> Path:
    """Writes config, tokenizer and weights of a two-layer decoder into `folder`; returns it.

    Args:
        folder: where to; made when missing.
        family: "gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma".

    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["<pad>", "<unk>", *_WORDS, *ascii_lowercase[1:], *(f"##{letter}" for letter in ascii_lowercase)]
    vocabulary += _ADDED
    config = _gpt2_config(len(vocabulary)) if family == "gpt2" else _rotary_config(family, len(vocabulary))
    (folder / "config.json").write_text(json.dumps(config))
    _write_tokenizer(folder, vocabulary)
    tensors = _gpt2(len(vocabulary)) if family == "gpt2" else _rotary(family, len(vocabulary))
    save_file(tensors, folder / "model.safetensors")
    return folder


def _write_tokenizer(folder: Path, vocabulary: list[str]) -> None:
    numbers = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="<unk>"))  # noqa: S106 (a token of text)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _gpt2_config(vocabulary: int) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "vocab_size": vocabulary,
        "n_layer": LAYERS,
        "n_head": HEADS,
        "n_embd": HIDDEN,
        "n_positions": POSITIONS,
        "resid_pdrop": 0.1,
        "activation_function": "gelu_new",
    }


def _rotary_config(family: str, vocabulary: int) -> dict[str, Any]:
    gemma = family == "gemma"
    return {
        "model_type": family,
        "vocab_size": vocabulary,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": GROUPS,
        "hidden_size": HIDDEN,
        "head_dim": HIDDEN // HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "hidden_act": "gelu_pytorch_tanh" if gemma else "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": family != "mistral",
        "use_sliding_window": False,
        "sliding_window": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "no_rope_layers": [1, 0],
        "layer_types": ["full_attention"] * LAYERS,
    }


def _matrix(random: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    # Larger than at the start of a training, so that attention is not flat and mistakes show.
    return random.normal(0.0, 0.15, shape).astype(np.float32)


def _scale(random: np.random.Generator, mean: float = 1.0, size: int = HIDDEN) -> NDArray[np.float32]:
    return random.normal(mean, 0.1, size).astype(np.float32)


def _gpt2(vocabulary: int) -> Tensors:
    random = np.random.default_rng(0)
    tensors = {
        "wte.weight": 3 * _matrix(random, vocabulary, HIDDEN),
        "wpe.weight": 3 * _matrix(random, POSITIONS, HIDDEN),
    }
    for layer in range(LAYERS):
        for part, into, out in (
            ("attn.c_attn", HIDDEN, 3 * HIDDEN),
            ("attn.c_proj", HIDDEN, HIDDEN),
            ("mlp.c_fc", HIDDEN, INNER),
            ("mlp.c_proj", INNER, HIDDEN),
        ):
            tensors[f"h.{layer}.{part}.weight"] = _matrix(random, into, out)
            tensors[f"h.{layer}.{part}.bias"] = _matrix(random, out)
        for norm in ("ln_1", "ln_2"):
            tensors[f"h.{layer}.{norm}.weight"] = _scale(random)
            tensors[f"h.{layer}.{norm}.bias"] = _scale(random, 0.0)
    tensors["ln_f.weight"], tensors["ln_f.bias"] = _scale(random), _scale(random, 0.0)
    return tensors


def _rotary(family: str, vocabulary: int) -> Tensors:
    random = np.random.default_rng(0)
    narrow = HIDDEN * GROUPS // HEADS
    # Gemma's scales are kept as what they differ from one by.
    mean = 0.0 if family == "gemma" else 1.0
    tensors = {"model.embed_tokens.weight": 3 * _matrix(random, vocabulary, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for part, out in (("q_proj", HIDDEN), ("k_proj", narrow), ("v_proj", narrow), ("o_proj", HIDDEN)):
            tensors[f"{prefix}.self_attn.{part}.weight"] = _matrix(random, out, HIDDEN)
            if family == "qwen2" and part != "o_proj":
                tensors[f"{prefix}.self_attn.{part}.bias"] = _matrix(random, out)
        if family == "qwen3":
            for part in ("q_norm", "k_norm"):
                tensors[f"{prefix}.self_attn.{part}.weight"] = _scale(random, size=HIDDEN // HEADS)
        for part in ("gate_proj", "up_proj"):
            tensors[f"{prefix}.mlp.{part}.weight"] = _matrix(random, INNER, HIDDEN)
        tensors[f"{prefix}.mlp.down_proj.weight"] = _matrix(random, HIDDEN, INNER)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}.{norm}.weight"] = _scale(random, mean)
    tensors["model.norm.weight"] = _scale(random, mean)
    if family == "mistral":
        tensors["lm_head.weight"] = _matrix(random, vocabulary, HIDDEN)
    return tensors
