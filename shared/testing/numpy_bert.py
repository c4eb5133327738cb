"""A plain numpy forward pass of BERT-family encoders: the oracle that served vectors are compared with.

Written from the papers (Devlin et al. 2018, arXiv:1810.04805; Vaswani et al. 2017, arXiv:1706.03762), one text at a
time, without padding, in float64: slow, and nothing in common with the engine under test.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file
from scipy.special import erf

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

_BERT = {
    "layer": "encoder.layer",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "output_norm": "output.LayerNorm",
}
_DISTILBERT = {
    "layer": "transformer.layer",
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "out": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "inner": "ffn.lin1",
    "outer": "ffn.lin2",
    "output_norm": "output_layer_norm",
}


class NumpyBert:
    """Encodes token ids with the weights of a Hugging Face folder; families bert, distilbert, (xlm-)roberta."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        family = config["model_type"]
        prefix = f"{family.removeprefix('xlm-')}."
        tensors = load_file(folder / "model.safetensors")
        self._weights = {name.removeprefix(prefix): value.astype(np.float64) for name, value in tensors.items()}
        self._names = _DISTILBERT if family == "distilbert" else _BERT
        self._layers = config.get("num_hidden_layers", config.get("n_layers"))
        self._heads = config.get("num_attention_heads", config.get("n_heads"))
        # RoBERTa counts positions from the padding id + 1.
        self._first_position = 2 if "roberta" in family else 0
        self._epsilon = config.get("layer_norm_eps", 1e-5 if "roberta" in family else 1e-12)

    def encode(self, ids: Sequence[int]) -> Matrix:
        """Returns the mean of the last layer over all of `ids`, length 1, shape (dim,)."""
        first = self._first_position
        hidden = self._weights["embeddings.word_embeddings.weight"][list(ids)]
        hidden = hidden + self._weights["embeddings.position_embeddings.weight"][first : first + len(ids)]
        segments = self._weights.get("embeddings.token_type_embeddings.weight")
        if segments is not None:
            hidden = hidden + segments[0]
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        for layer in range(self._layers):
            hidden = self._layer(hidden, f"{self._names['layer']}.{layer}")
        mean = hidden.mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean))

    def _layer(self, hidden: Matrix, prefix: str) -> Matrix:
        names = self._names
        query, key, value = (
            self._split(self._dense(hidden, f"{prefix}.{names[part]}")) for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = (weights @ value).transpose(1, 0, 2).reshape(hidden.shape)
        attended = self._dense(mixed, f"{prefix}.{names['out']}")
        hidden = self._norm(hidden + attended, f"{prefix}.{names['attention_norm']}")
        inner = self._dense(hidden, f"{prefix}.{names['inner']}")
        gelu = inner * 0.5 * (1.0 + erf(inner / math.sqrt(2.0)))
        return self._norm(hidden + self._dense(gelu, f"{prefix}.{names['outer']}"), f"{prefix}.{names['output_norm']}")

    def _split(self, values: Matrix) -> Matrix:
        return values.reshape(len(values), self._heads, -1).transpose(1, 0, 2)

    def _dense(self, values: Matrix, name: str) -> Matrix:
        return np.asarray(values @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"])

    def _norm(self, values: Matrix, name: str) -> Matrix:
        centred = values - values.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(values.var(axis=-1, keepdims=True) + self._epsilon)
        return np.asarray(scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"])
