"""The weights of a BERT-family folder as the fused graph wants them: one matrix for query, key and value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open

from services.embedding.adapters.hf_folder import CONFIG

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.embedding.adapters.hf_folder import ModelFolder

    Array = NDArray[np.float32]
    Affine = tuple[Array, Array]
    """Weight and bias: of a dense layer (in, out) and (out,), of a layer normalisation (hidden,) twice."""

FUSED_FAMILIES = ("bert", "distilbert", "roberta", "xlm-roberta")
"""Families that `read_weights` knows. ALBERT shares its layers and is left to KerasHub."""

_WORDS = "embeddings.word_embeddings.weight"
_BERT = {
    "layer": "encoder.layer.{}.",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "outer_norm": "output.LayerNorm",
}
_DISTILBERT = {
    "layer": "transformer.layer.{}.",
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "attention": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "inner": "ffn.lin1",
    "outer": "ffn.lin2",
    "outer_norm": "output_layer_norm",
}


@dataclass(frozen=True)
class LayerWeights:
    """One Transformer layer (Vaswani et al. 2017), normalised after each sublayer."""

    qkv: Affine
    """Query, key and value side by side, (hidden, 3 hidden); the query holds the attention's 1/sqrt(head size)."""
    attention: Affine
    attention_norm: Affine
    inner: Affine
    outer: Affine
    outer_norm: Affine


@dataclass(frozen=True)
class EncoderWeights:
    """An encoder without its pooler, float32."""

    words: Array
    """(vocabulary, hidden)."""
    positions: Array
    """(positions, hidden): row 0 is that of a text's first token, segment 0 added."""
    norm: Affine
    layers: tuple[LayerWeights, ...]
    heads: int
    epsilon: float
    """Added to the variance by the layer normalisations."""


class _Reader:
    def __init__(self, folder: ModelFolder) -> None:
        self._files = {}
        for file in folder.weight_files:
            with safe_open(file, framework="np") as tensors:
                self._files.update(dict.fromkeys(tensors.keys(), file))
        (words,) = [name for name in self._files if name.endswith(_WORDS)]
        self._prefix = words.removesuffix(_WORDS)

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._files

    def tensor(self, name: str) -> Array:
        with safe_open(self._files[self._prefix + name], framework="np") as tensors:
            return np.asarray(tensors.get_tensor(self._prefix + name), np.float32)

    def norm(self, name: str) -> Affine:
        return self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")

    def dense(self, name: str) -> Affine:
        return np.ascontiguousarray(self.tensor(f"{name}.weight").T), self.tensor(f"{name}.bias")


def read_weights(folder: ModelFolder) -> EncoderWeights:
    """Returns the weights of a folder of one of `FUSED_FAMILIES`.

    Raises:
        KeyError, ValueError: its tensors have other names than the family's.

    """
    config: dict[str, Any] = json.loads((folder.path / CONFIG).read_text())
    distilled = folder.family == "distilbert"
    heads = int(config["n_heads" if distilled else "num_attention_heads"])
    layers = int(config["n_layers" if distilled else "num_hidden_layers"])
    reader = _Reader(folder)
    positions = reader.tensor("embeddings.position_embeddings.weight")
    if "embeddings.token_type_embeddings.weight" in reader:
        positions = positions + reader.tensor("embeddings.token_type_embeddings.weight")[0]
    if "roberta" in folder.family:
        # The first rows stand for padding: a text's first token has the one after the padding token's number.
        positions = positions[int(config.get("pad_token_id", 1)) + 1 :]
    names = _DISTILBERT if distilled else _BERT
    return EncoderWeights(
        words=reader.tensor(_WORDS),
        positions=np.ascontiguousarray(positions),
        norm=reader.norm("embeddings.LayerNorm"),
        layers=tuple(_layer(reader, names, number, heads) for number in range(layers)),
        heads=heads,
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
    )


def _layer(reader: _Reader, names: dict[str, str], number: int, heads: int) -> LayerWeights:
    def name(part: str) -> str:
        return names["layer"].format(number) + names[part]

    query, key, value = (reader.dense(name(part)) for part in ("query", "key", "value"))
    scale = np.float32((query[0].shape[1] / heads) ** -0.5)
    parts = ((query[0] * scale, query[1] * scale), key, value)
    qkv = np.concatenate([weight for weight, _ in parts], axis=1), np.concatenate([bias for _, bias in parts])
    return LayerWeights(
        qkv=qkv,
        attention=reader.dense(name("attention")),
        attention_norm=reader.norm(name("attention_norm")),
        inner=reader.dense(name("inner")),
        outer=reader.dense(name("outer")),
        outer_norm=reader.norm(name("outer_norm")),
    )
