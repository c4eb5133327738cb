"""Calibration (Steck, "Calibrated recommendations", 2018): the list has the categories that the user's likes have."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.ranker.items.arrays import F32

SMOOTHING = 0.01
"""Share of the user's own mix in that of the list, so that the divergence is finite."""
MAX_CATEGORIES = 32
"""Categories of a user that count, the largest."""


def category_mix(categories: Iterable[Sequence[str]]) -> dict[str, float]:
    """Returns the share of each category, each item dividing itself among its own; the largest, summing to 1."""
    weights: Counter[str] = Counter()
    for names in categories:
        for name in names:
            weights[name] += 1 / len(names)  # type: ignore[assignment]  # a Counter adds fractions as well
    largest = sorted(weights.items(), key=lambda one: (-one[1], one[0]))[:MAX_CATEGORIES]
    total = sum(weight for _, weight in largest)
    return {name: weight / total for name, weight in largest}


def divergence(mix: Mapping[str, float], categories: Sequence[Sequence[str]]) -> float:
    """Returns the Kullback-Leibler divergence of a list's categories from the mix, nats, at least 0."""
    wanted, shares = _arrays(mix, categories)
    held = shares.mean(axis=0) if len(shares) else np.zeros(len(wanted))
    return float((wanted * np.log(wanted / ((1 - SMOOTHING) * held + SMOOTHING * wanted))).sum())


class Calibration:
    """Minus the divergence that the list would have with an item. `categories`: those of each candidate."""

    def __init__(self, mix: Mapping[str, float], categories: Sequence[Sequence[str]]) -> None:
        self._wanted, self._shares = _arrays(mix, categories)
        self._sum = np.zeros(len(self._wanted))
        self._taken = 0

    def gains(self) -> F32:
        """Returns what is to be made large, at most 0: float32 (n,)."""
        held = (self._sum + self._shares) / (self._taken + 1)
        smooth = (1 - SMOOTHING) * held + SMOOTHING * self._wanted
        return np.asarray(np.log(smooth / self._wanted) @ self._wanted, dtype=np.float32)

    def take(self, place: int) -> None:
        """Takes a candidate into the list."""
        self._sum = self._sum + self._shares[place]
        self._taken += 1


def _arrays(mix: Mapping[str, float], categories: Sequence[Sequence[str]]) -> tuple[F32, F32]:
    columns = {name: column for column, name in enumerate(mix)}
    shares = np.zeros((len(categories), len(columns)))
    for place, names in enumerate(categories):
        for name in names:
            if name in columns:
                shares[place, columns[name]] = 1 / len(names)
    return np.array(list(mix.values())), shares  # type: ignore[return-value]  # float64: logarithms of small shares
