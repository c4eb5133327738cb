"""Whether trained vectors beat those of the base, beyond what chance gives: a paired bootstrap over users.

Efron and Tibshirani 1993, chapter 13; paired, as Sakai 2006 compares rankings: the same users were asked of both, and
only the differences of their NDCG are drawn again. The items are taken as given: the bound says nothing of other items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.9
"""Of the one-sided bound."""
RESAMPLES = 2_000
MIN_USERS = 20
"""Fewer decide nothing: a bootstrap of so few bounds too narrowly."""


@dataclass(frozen=True)
class Verdict:
    """NDCG@10 of the base and of what was trained, 0 to 1, on items that stopped no training."""

    base: float
    trained: float
    gain_lower: float
    """The mean gain is above this with `CONFIDENCE`."""
    users: int
    """Users that the means are over."""

    @property
    def better(self) -> bool:
        """Whether what was trained beats the base."""
        return self.users >= MIN_USERS and self.gain_lower > 0

    @property
    def metrics(self) -> dict[str, float]:
        """As metrics of an artifact."""
        return {
            "validation_ndcg_10_base": self.base,
            "validation_ndcg_10": self.trained,
            "validation_gain_lower": self.gain_lower,
            "validation_users": float(self.users),
        }


def compare(trained: NDArray[np.float64], base: NDArray[np.float64], seed: int) -> Verdict:
    """Returns the verdict on the NDCG of the same users, both float64 (users,); the same seed gives the same one."""
    users = len(trained)
    if not users:
        return Verdict(0.0, 0.0, 0.0, 0)
    gains = trained - base
    random = np.random.default_rng(seed)
    means = [gains[random.integers(users, size=users)].mean() for _ in range(RESAMPLES)]
    lower = float(np.quantile(means, 1 - CONFIDENCE))
    return Verdict(float(base.mean()), float(trained.mean()), lower, users)
