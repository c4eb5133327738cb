"""A plain numpy forward pass of decoder families: the oracle that served vectors are compared with.

Written from the papers (GPT-2: Radford et al. 2019; rotary positions: Su et al. 2021, arXiv:2104.09864; grouped heads:
Ainslie et al. 2023, arXiv:2305.13245; gated units: Shazeer 2020, arXiv:2002.05202), one text at a time, without
padding, in float64: slow, and nothing in common with the engine under test.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]


class NumpyGpt:
    """Encodes token ids with the weights of a Hugging Face folder of the families of `tiny_decoder`."""

    def __init__(self, folder: Path) -> None:
        self._config = json.loads((folder / "config.json").read_text())
        self._family = self._config["model_type"]
        tensors = load_file(folder / "model.safetensors")
        self._weights = {name.removeprefix("model."): value.astype(np.float64) for name, value in tensors.items()}

    def hidden(self, ids: Sequence[int]) -> Matrix:
        """Returns the last layer, shape (len(ids), dim)."""
        return self._gpt2(ids) if self._family == "gpt2" else self._rotary(ids)

    def encode(self, ids: Sequence[int], pooling: str) -> Matrix:
        """Returns the mean of the last layer, or its last row, at length 1, shape (dim,)."""
        hidden = self.hidden(ids)
        pooled = hidden[-1] if pooling == "last" else hidden.mean(axis=0)
        return np.asarray(pooled / np.linalg.norm(pooled))

    def _gpt2(self, ids: Sequence[int]) -> Matrix:
        weights, heads = self._weights, self._config["n_head"]
        hidden = weights["wte.weight"][list(ids)] + weights["wpe.weight"][: len(ids)]
        for layer in range(self._config["n_layer"]):
            prefix = f"h.{layer}"
            joint = self._linear(self._layer_norm(hidden, f"{prefix}.ln_1"), f"{prefix}.attn.c_attn")
            query, key, value = (_split(part, heads) for part in np.split(joint, 3, axis=1))
            hidden = hidden + self._linear(_attend(query, key, value), f"{prefix}.attn.c_proj")
            inner = _gelu(self._linear(self._layer_norm(hidden, f"{prefix}.ln_2"), f"{prefix}.mlp.c_fc"))
            hidden = hidden + self._linear(inner, f"{prefix}.mlp.c_proj")
        return self._layer_norm(hidden, "ln_f")

    def _rotary(self, ids: Sequence[int]) -> Matrix:
        config = self._config
        hidden = self._weights["embed_tokens.weight"][list(ids)]
        if self._family == "gemma":
            hidden = hidden * math.sqrt(config["hidden_size"])
        for layer in range(config["num_hidden_layers"]):
            prefix = f"layers.{layer}"
            read = self._rms(hidden, f"{prefix}.input_layernorm")
            hidden = hidden + self._matmul(self._grouped(read, layer), f"{prefix}.self_attn.o_proj")
            read = self._rms(hidden, f"{prefix}.post_attention_layernorm")
            gate = self._matmul(read, f"{prefix}.mlp.gate_proj")
            gate = _gelu(gate) if self._family == "gemma" else gate / (1.0 + np.exp(-gate))
            inner = gate * self._matmul(read, f"{prefix}.mlp.up_proj")
            hidden = hidden + self._matmul(inner, f"{prefix}.mlp.down_proj")
        return self._rms(hidden, "norm")

    def _grouped(self, read: Matrix, layer: int) -> Matrix:
        config, prefix = self._config, f"layers.{layer}.self_attn"
        heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
        query = _split(self._matmul(read, f"{prefix}.q_proj"), heads)
        key, value = (_split(self._matmul(read, f"{prefix}.{part}_proj"), groups) for part in "kv")
        if f"{prefix}.q_norm.weight" in self._weights:
            query, key = self._rms(query, f"{prefix}.q_norm"), self._rms(key, f"{prefix}.k_norm")
        if self._family != "smollm3" or config["no_rope_layers"][layer]:
            query, key = (_rotated(part, config["rope_theta"]) for part in (query, key))
        key, value = (np.repeat(part, heads // groups, axis=0) for part in (key, value))
        return _attend(query, key, value)

    def _linear(self, values: Matrix, name: str) -> Matrix:
        # GPT-2 keeps its matrices the other way round.
        return np.asarray(values @ self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"])

    def _matmul(self, values: Matrix, name: str) -> Matrix:
        return np.asarray(values @ self._weights[f"{name}.weight"].T + self._weights.get(f"{name}.bias", 0.0))

    def _layer_norm(self, values: Matrix, name: str) -> Matrix:
        centred = values - values.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(values.var(axis=-1, keepdims=True) + 1e-5)
        return np.asarray(scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"])

    def _rms(self, values: Matrix, name: str) -> Matrix:
        scale = self._weights[f"{name}.weight"] + (1.0 if self._family == "gemma" else 0.0)
        size = np.sqrt((values**2).mean(axis=-1, keepdims=True) + self._config["rms_norm_eps"])
        return np.asarray(values / size * scale)


def _split(values: Matrix, heads: int) -> Matrix:
    return values.reshape(len(values), heads, -1).transpose(1, 0, 2)


def _attend(query: Matrix, key: Matrix, value: Matrix) -> Matrix:
    scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
    scores[:, ~np.tri(scores.shape[-1], dtype=bool)] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.asarray((weights @ value).transpose(1, 0, 2).reshape(query.shape[1], -1))


def _rotated(values: Matrix, theta: float) -> Matrix:
    half = values.shape[-1] // 2
    angles = np.arange(values.shape[1])[:, None] * theta ** (-np.arange(half) / half)
    left, right = values[..., :half], values[..., half:]
    turned = (left * np.cos(angles) - right * np.sin(angles), right * np.cos(angles) + left * np.sin(angles))
    return np.concatenate(turned, axis=-1)


def _gelu(values: Matrix) -> Matrix:
    return np.asarray(0.5 * values * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (values + 0.044715 * values**3))))
