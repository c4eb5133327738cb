"""The pairwise squared hinge: what a ranking SVM minimises.

Sum over pairs (liked, other) of one list of max(0, 1 - (s_liked - s_other))^2, each list's pairs with weight 1 in all,
plus L2 (Joachims 2002; in the primal: Chapelle and Keerthi 2010). At most a given number of pairs per liked item is
drawn, so that memory and time grow with the lists and not with their squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.ranker.fusion.base import RankingLists
    from services.ranker.items.arrays import F32

PAIRS = 12
"""Pairs per liked item, at most."""
MAX_PAIRS = 2_000_000


@dataclass(frozen=True)
class Pairs:
    """Rows of the liked and of the other item, int64 (pairs,), and weights, float32 (pairs,), with mean 1."""

    liked: NDArray[np.int64]
    other: NDArray[np.int64]
    weights: F32

    @classmethod
    def of(cls, lists: RankingLists, seed: int = 0) -> Pairs:
        """Draws the pairs of lists."""
        random = np.random.default_rng(seed)
        liked, other, weights = [], [], []
        total = float(lists.labels.sum()) * PAIRS
        each = max(int(PAIRS * min(MAX_PAIRS / max(total, 1), 1.0)), 1)
        for start, size, weight in zip(lists.starts, lists.sizes, lists.weights, strict=True):
            labels = lists.labels[start : start + size]
            good, bad = np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)
            if not len(good) or not len(bad):
                continue
            drawn = random.choice(bad, (len(good), min(each, len(bad))))
            liked.append(start + np.repeat(good, drawn.shape[1]))
            other.append(start + drawn.ravel())
            # As in the softmax loss: a list counts by the root of what it has to say.
            weights.append(np.full(drawn.size, weight * np.sqrt(len(good)) / drawn.size))
        if not liked:
            nothing = np.zeros(0, dtype=np.int64)
            return cls(nothing, nothing, np.zeros(0, dtype=np.float32))
        scaled = np.concatenate(weights)
        return cls(np.concatenate(liked), np.concatenate(other), (scaled / scaled.mean()).astype(np.float32))

    def loss(self, scores: F32) -> tuple[float, F32]:
        """Returns the mean squared hinge, and its slope in the scores: float32 (rows,)."""
        if not len(self.liked):
            return 0.0, np.zeros_like(scores)
        short = np.maximum(1 - (scores[self.liked] - scores[self.other]), 0)
        weighted = self.weights * short
        value = float(weighted @ short) / len(short)
        slope = np.bincount(self.other, weighted, len(scores)) - np.bincount(self.liked, weighted, len(scores))
        return value, (2 * slope / len(short)).astype(np.float32)
