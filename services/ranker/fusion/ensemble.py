"""A weighted sum of other fusion functions' scores.

Each part's scores are put on one scale: divided by their usual spread within a list. The weights, at least 0, are
learned on the lists that the parts have not learned from, with the listwise softmax loss, and kept when they are better
than equal ones on lists that they have not learned from either (two halves, each judged by the other's weights).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy.optimize import minimize

from services.ranker.training.metrics import ndcg
from shared.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.ranker.fusion.base import FusionFunction, RankingInput, RankingLists
    from services.ranker.items.arrays import F32

META = "ensemble.json"
MIN_SHARE = 0.03
"""A part with a smaller share of the weights is left out: it costs time and says next to nothing."""
MIN_SPREAD = 1e-6


class EnsembleFusion:
    """See the module's text."""

    name: ClassVar[str] = "ensemble"
    description: ClassVar[str] = "Weighted sum of the other fusion functions' scores, weights learned on held-out lists"

    def __init__(
        self, parts: Mapping[str, FusionFunction] | None = None, *, own: Collection[str] | None = None
    ) -> None:
        """`own`: names of the parts that learn with it, None for all; the others are variants that learn before it."""
        self._parts = dict(parts or {})
        self._own = frozenset(self._parts if own is None else own)
        self._weights: dict[str, float] = {}

    @property
    def weights(self) -> Mapping[str, float]:
        """What each part's score is multiplied with."""
        return self._weights

    def fit(self, train: RankingLists, validation: RankingLists, names: Sequence[str]) -> None:
        """Fits the parts of its own, then learns the weights on `validation`."""
        for name in sorted(self._own):
            self._parts[name].fit(train, validation, names)
        self._weigh(validation)

    def _weigh(self, validation: RankingLists) -> None:
        scores = self._scores(validation)
        spread = np.maximum(_spread_within(scores, validation), MIN_SPREAD)
        scaled = scores / spread
        shares = _chosen(scaled.astype(np.float32), validation)
        kept = shares >= MIN_SHARE * shares.sum()
        if not kept.any():
            kept[:], shares[:] = True, 1.0
        total = float(shares[kept].sum())
        self._weights = {
            name: float(share / total / own)
            for name, share, own, used in zip(self._parts, shares, spread, kept, strict=True)
            if used
        }

    def refit(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Learns the parts again; the weights stay."""
        for name in sorted(self._own & self._weights.keys()):
            self._parts[name].refit(lists, names)

    def update(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Lets the parts go on; the weights stay."""
        for name in sorted(self._own & self._weights.keys()):
            self._parts[name].update(lists, names)

    def predict(self, inputs: RankingInput) -> F32:
        """Returns scores; see `FusionFunction`."""
        scores = np.zeros(len(inputs), dtype=np.float32)
        for name, weight in self._own_weights().items():
            scores += np.float32(weight) * self._parts[name].predict(inputs)
        return scores

    def contributions(self, inputs: RankingInput) -> tuple[float, F32]:
        """Returns the parts' contributions, each times its weight."""
        bias, total = 0.0, np.zeros_like(inputs.features)
        for name, weight in self._own_weights().items():
            own, parts = self._parts[name].contributions(inputs)
            bias += weight * own
            total += np.float32(weight) * parts
        return bias, total

    def save(self, folder: Path) -> None:
        """Writes the weights, and each part that has one into a folder of its name."""
        (folder / META).write_text(json.dumps({"weights": self._own_weights()}, indent=2))
        for name in self._weights:
            (folder / name).mkdir(exist_ok=True)
            self._parts[name].save(folder / name)

    @classmethod
    def load(cls, folder: Path) -> EnsembleFusion:
        """Reads what `save` wrote; see `FusionFunction`."""
        from services.ranker.fusion.registry import fusion_class

        try:
            stored = json.loads((folder / META).read_text())["weights"]
            weights = {str(name): float(weight) for name, weight in stored.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptData(f"{META} cannot be read") from error
        own = cls({name: fusion_class(name).load(folder / name) for name in weights})
        own._weights = weights
        return own

    def _own_weights(self) -> dict[str, float]:
        if not self._weights:
            raise CorruptData("the ensemble fusion has not been fitted")
        return self._weights

    def _scores(self, lists: RankingLists) -> F32:
        inputs = list(lists.inputs())
        return np.stack(
            [np.concatenate([part.predict(one) for one in inputs]) for part in self._parts.values()], axis=1
        )


def _spread_within(scores: F32, lists: RankingLists) -> F32:
    """Returns the usual standard deviation of each column within a list: float32 (columns,)."""
    found = [scores[start : start + size].std(axis=0) for start, size in zip(lists.starts, lists.sizes, strict=True)]
    return np.asarray(np.mean(found, axis=0), dtype=np.float32)


def _chosen(scaled: F32, lists: RankingLists) -> NDArray[np.float64]:
    """Returns the learned shares when they beat equal ones on the other half of the lists, else equal ones."""
    even = np.arange(len(lists.sizes)) % 2 == 0
    equal = np.ones(scaled.shape[1])
    gain = 0.0
    for half in (even, ~even):
        if half.any() and not half.all():
            gain += _quality(scaled, _learned(scaled, lists, half), lists, ~half)
            gain -= _quality(scaled, equal, lists, ~half)
    return _learned(scaled, lists, np.ones_like(even)) if gain > 0 else equal


def _learned(scaled: F32, lists: RankingLists, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns weights, at least 0, of the least softmax loss on the chosen lists: float64 (columns,)."""
    own = chosen.astype(np.float64) * lists.weights
    starts, of_row = lists.starts, lists.list_of_row
    wanted = lists.labels / np.maximum(np.add.reduceat(lists.labels, starts), 1)[of_row] * own[of_row]
    values = scaled.astype(np.float64)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = values @ weights
        top = np.maximum.reduceat(scores, starts)
        raised = np.exp(scores - top[of_row])
        total = np.add.reduceat(raised, starts)
        value = float(own @ (np.log(total) + top) - wanted @ scores)
        return value / own.sum(), (raised * (own / total)[of_row] - wanted) @ values / own.sum()

    columns = scaled.shape[1]
    found = minimize(loss, np.full(columns, 1 / columns), jac=True, method="L-BFGS-B", bounds=[(0, None)] * columns)
    return np.asarray(found.x)


def _quality(scaled: F32, weights: NDArray[np.float64], lists: RankingLists, chosen: NDArray[np.bool_]) -> float:
    scores = (scaled @ weights).astype(np.float32)
    return float(
        np.mean(
            [
                ndcg(scores[start : start + size], lists.labels[start : start + size])
                for start, size, used in zip(lists.starts, lists.sizes, chosen, strict=True)
                if used
            ]
        )
    )
