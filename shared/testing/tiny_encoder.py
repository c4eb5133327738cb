"""Small BERT-family model folders in Hugging Face layout, with random weights: real to every loader, quick to load."""

from __future__ import annotations

import json
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

HIDDEN = 32
LAYERS = 2
HEADS = 4
INNER = 64
POSITIONS = 66
"""Rows of the position table; the RoBERTa families reserve two of them."""

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORDS = ("a", "film", "about", "love", "war", "space", "the", "of", "and", "in")


def write_tiny_encoder(folder: Path, family: str = "bert", *, prefixed: bool = True, pooler: bool = True) -> Path:
    """Writes config, tokenizer and weights of a two-layer encoder into `folder`; returns it.

    Args:
        folder: where to; made when missing.
        family: "bert", "distilbert", "roberta", "xlm-roberta" (all but albert, whose layers share weights).
        prefixed: name tensors as saved from a model with a head ("roberta.embeddings…"), else bare.
        pooler: include BERT's pooler.

    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*_SPECIAL, *_WORDS, *ascii_lowercase[1:], *(f"##{letter}" for letter in ascii_lowercase)]
    (folder / "config.json").write_text(json.dumps(_config(family, len(vocabulary))))
    _write_tokenizer(folder, vocabulary, family)
    # The RoBERTa families know one segment only.
    segments = 2 if family == "bert" else 1
    tensors = _distilbert(len(vocabulary)) if family == "distilbert" else _bert(len(vocabulary), segments)
    if pooler and family == "bert":
        tensors |= _dense(np.random.default_rng(1), "pooler.dense", HIDDEN, HIDDEN)
    prefix = f"{family.removeprefix('xlm-')}." if prefixed else ""
    save_file({prefix + name: value for name, value in tensors.items()}, folder / "model.safetensors")
    return folder


def _config(family: str, vocabulary: int) -> dict[str, Any]:
    common = {"model_type": family, "vocab_size": vocabulary, "max_position_embeddings": POSITIONS}
    if family == "distilbert":
        sizes = {"n_layers": LAYERS, "n_heads": HEADS, "dim": HIDDEN, "hidden_dim": INNER}
        return {**common, **sizes, "dropout": 0.1, "activation": "gelu"}
    return {
        **common,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "type_vocab_size": 2 if family == "bert" else 1,
    }


def _write_tokenizer(folder: Path, vocabulary: list[str], family: str) -> None:
    numbers = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))  # noqa: S106 (a token of text)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    ends = [(token, numbers[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), _SPECIAL, strict=True))
    usable = POSITIONS - 2 if "roberta" in family else POSITIONS
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": usable}
    tokens = {f"{name}_token": token for name, token in names.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **tokens}))


def _dense(random: np.random.Generator, name: str, out: int, into: int) -> dict[str, NDArray[np.float32]]:
    # Larger than at the start of a training, so that attention is not flat and mistakes show.
    return {
        f"{name}.weight": random.normal(0.0, 0.15, (out, into)).astype(np.float32),
        f"{name}.bias": random.normal(0.0, 0.1, out).astype(np.float32),
    }


def _norm(random: np.random.Generator, name: str) -> dict[str, NDArray[np.float32]]:
    return {
        f"{name}.weight": random.normal(1.0, 0.1, HIDDEN).astype(np.float32),
        f"{name}.bias": random.normal(0.0, 0.1, HIDDEN).astype(np.float32),
    }


def _table(random: np.random.Generator, rows: int) -> NDArray[np.float32]:
    return random.normal(0.0, 0.5, (rows, HIDDEN)).astype(np.float32)


def _bert(vocabulary: int, segments: int) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(0)
    tensors = {
        "embeddings.word_embeddings.weight": _table(random, vocabulary),
        "embeddings.position_embeddings.weight": _table(random, POSITIONS),
        "embeddings.token_type_embeddings.weight": _table(random, segments),
        **_norm(random, "embeddings.LayerNorm"),
    }
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            tensors |= _dense(random, f"{prefix}.attention.self.{part}", HIDDEN, HIDDEN)
        tensors |= _dense(random, f"{prefix}.attention.output.dense", HIDDEN, HIDDEN)
        tensors |= _norm(random, f"{prefix}.attention.output.LayerNorm")
        tensors |= _dense(random, f"{prefix}.intermediate.dense", INNER, HIDDEN)
        tensors |= _dense(random, f"{prefix}.output.dense", HIDDEN, INNER)
        tensors |= _norm(random, f"{prefix}.output.LayerNorm")
    return tensors


def _distilbert(vocabulary: int) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(0)
    tensors = {
        "embeddings.word_embeddings.weight": _table(random, vocabulary),
        "embeddings.position_embeddings.weight": _table(random, POSITIONS),
        **_norm(random, "embeddings.LayerNorm"),
    }
    for layer in range(LAYERS):
        prefix = f"transformer.layer.{layer}"
        for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
            tensors |= _dense(random, f"{prefix}.attention.{part}", HIDDEN, HIDDEN)
        tensors |= _norm(random, f"{prefix}.sa_layer_norm")
        tensors |= _dense(random, f"{prefix}.ffn.lin1", INNER, HIDDEN)
        tensors |= _dense(random, f"{prefix}.ffn.lin2", HIDDEN, INNER)
        tensors |= _norm(random, f"{prefix}.output_layer_norm")
    return tensors
