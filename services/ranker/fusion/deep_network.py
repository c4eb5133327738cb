"""The network of the deep fusion in numpy: what serving computes of what TensorFlow learned, and its slopes.

Inputs x0 of a candidate: the standardised features, each group of them times its gate, and the attention's interaction.

- Gate: 2 sigmoid(hats of the history's length and of the item's popularity, times weights), one value per group.
- Target attention (DIN, Zhou et al. 2018): the candidate's vector asks the vectors of the judged items, softmax; what
  comes back, each value times the item's signed weight, is multiplied with the question, element by element.
- Cross network (DCN-v2, Wang et al. 2021), low rank: x <- x0 * (x V U + b) + x.
- Two dense layers beside it, silu.

The score is linear in the last of both. Integrated gradients (Sundararajan et al. 2017) go from x0 = 0 to x0, gates and
attention held, by Gauss-Legendre; what the rule leaves is spread in proportion, so that they add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.fusion.gated import KNOTS, hats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from services.ranker.fusion.base import RankingInput
    from services.ranker.fusion.standard import Standard
    from services.ranker.items.arrays import F32

POPULARITY_KNOTS = np.log1p(np.array([0, 3, 15, 60, 240], dtype=np.float32))
"""Places of the popularity gate's hats, log(1 + positives)."""
GATE_INPUTS = len(KNOTS) + len(POPULARITY_KNOTS)
STEPS = 12
_POINTS, _SHARES = np.polynomial.legendre.leggauss(STEPS)
POINTS, SHARES = ((_POINTS + 1) / 2).astype(np.float32), (_SHARES / 2).astype(np.float32)
"""Of Gauss-Legendre on 0 to 1."""


@dataclass(frozen=True)
class Columns:
    """Where the network finds things: columns of the features, int64 (features,) the group of each one."""

    history: int
    popularity: int
    attention: int
    groups: NDArray[np.int64]


@dataclass(frozen=True)
class DeepNetwork:
    """See the module's text. `weights`: by name, as `training/deep_fit.py` makes them."""

    standard: Standard
    columns: Columns
    weights: Mapping[str, F32]

    @property
    def crosses(self) -> int:
        """Number of cross layers."""
        return sum(name.startswith("cross_in") for name in self.weights)

    def gate_inputs(self, features: F32) -> F32:
        """Returns what the gates read: float32 (n, GATE_INPUTS)."""
        history, popularity = features[:, self.columns.history], features[:, self.columns.popularity]
        return np.hstack([hats(history), hats(popularity, POPULARITY_KNOTS)])

    def gates(self, features: F32) -> F32:
        """Returns the gate of each group: float32 (n, groups), 0 to 2."""
        return 2 * _sigmoid(self.gate_inputs(features) @ self.weights["gate"])

    def attention(self, inputs: RankingInput) -> F32:
        """Returns how much each candidate attends to each judged item: float32 (n, m), rows of sum 1."""
        asked = inputs.items @ self.weights["query"]
        logits = asked @ (inputs.history @ self.weights["key"]).T / np.sqrt(asked.shape[1]).astype(np.float32)
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)

    def reads(self, inputs: RankingInput) -> bool:
        """Returns whether the candidates' vectors are as long as those that it was trained with."""
        return int(inputs.items.shape[1]) == len(self.weights["query"])

    def interaction(self, inputs: RankingInput) -> F32:
        """Returns what attention adds to x0: float32 (n, attention dim); zeros without vectors."""
        query = self.weights["query"]
        if not len(inputs.history) or not self.reads(inputs):
            return np.zeros((len(inputs), query.shape[1]), dtype=np.float32)
        values = (inputs.history @ self.weights["value"]) * inputs.weights[:, None]
        return np.asarray((inputs.items @ query) * (self.attention(inputs) @ values), dtype=np.float32)

    def first(self, inputs: RankingInput) -> F32:
        """Returns x0: float32 (n, features + attention dim)."""
        gates = self.gates(inputs.features)[:, self.columns.groups]
        return np.hstack([self.standard(inputs.features) * gates, self.interaction(inputs)])

    def predict(self, inputs: RankingInput) -> F32:
        """Returns the network's scores: float32 (n,)."""
        return self._score(self.first(inputs))

    def head(self, name: str, inputs: RankingInput) -> F32:
        """Returns another task's prediction, float32 (n,): a probability, for "rating" a standardised rating."""
        x0 = self.first(inputs)
        out = self._dense(x0)[-1] @ self.weights[f"head_{name}"] + self.weights[f"head_{name}_bias"]
        return np.asarray(out if name == "rating" else _sigmoid(out), dtype=np.float32)

    def contributions(self, inputs: RankingInput) -> tuple[float, F32]:
        """Returns the score of x0 = 0 and what each feature adds, float32 (n, features); attention has its column."""
        x0 = self.first(inputs)
        slopes = np.zeros_like(x0)
        for point, share in zip(POINTS, SHARES, strict=True):
            slopes += share * self._slope(point * x0)
        parts = (slopes * x0).astype(np.float64)
        bias = float(self._score(np.zeros_like(x0[:1]))[0])
        lacking = self._score(x0).astype(np.float64) - bias - parts.sum(axis=1)
        sizes = np.abs(parts)
        parts += sizes * (lacking / np.maximum(sizes.sum(axis=1), 1e-12))[:, None]
        count = len(self.columns.groups)
        own = parts[:, :count]
        own[:, self.columns.attention] += parts[:, count:].sum(axis=1)
        return bias, own.astype(np.float32)

    def _dense(self, x0: F32) -> tuple[F32, F32, F32]:
        w = self.weights
        before = x0 @ w["dense_1"] + w["dense_1_bias"]
        after = _silu(before) @ w["dense_2"] + w["dense_2_bias"]
        return before, after, _silu(after)

    def _crossed(self, x0: F32) -> tuple[F32, list[F32]]:
        x: F32 = x0
        factors: list[F32] = []
        for turn in range(self.crosses):
            moved = x @ self.weights[f"cross_in_{turn}"] @ self.weights[f"cross_out_{turn}"]
            factors.append(np.asarray(moved + self.weights[f"cross_bias_{turn}"], dtype=np.float32))
            x = np.asarray(x0 * factors[-1] + x, dtype=np.float32)
        return x, factors

    def _score(self, x0: F32) -> F32:
        crossed = self._crossed(x0)[0] @ self.weights["out_cross"]
        return np.asarray(crossed + self._dense(x0)[-1] @ self.weights["out_dense"], dtype=np.float32)

    def _slope(self, x0: F32) -> F32:
        """Returns the score's slope in x0, by the chain rule backwards: float32, the shape of x0."""
        w = self.weights
        before, after, _ = self._dense(x0)
        back = (_silu_slope(after) * w["out_dense"]) @ w["dense_2"].T
        slope = (_silu_slope(before) * back) @ w["dense_1"].T
        _, factors = self._crossed(x0)
        moving: F32 = np.broadcast_to(w["out_cross"], x0.shape)
        for turn in reversed(range(self.crosses)):
            slope = np.asarray(slope + moving * factors[turn], dtype=np.float32)
            inner = (moving * x0) @ w[f"cross_out_{turn}"].T @ w[f"cross_in_{turn}"].T
            moving = np.asarray(moving + inner, dtype=np.float32)
        return np.asarray(slope + moving, dtype=np.float32)


def _sigmoid(values: F32) -> F32:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -30, 30))), dtype=np.float32)


def _silu(values: F32) -> F32:
    return values * _sigmoid(values)


def _silu_slope(values: F32) -> F32:
    own = _sigmoid(values)
    return own * (1 + values * (1 - own))
