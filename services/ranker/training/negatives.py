"""Which of a list's other items are learned from: some that are hard, the rest without a leaning to the popular."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.ranker.items.arrays import F32

HARD_SHARE = 0.0
"""Share of the places that go to the items that stood first among the candidates."""
POPULARITY_POWER = 0.0
"""The others are drawn with a chance in proportion to (1 + positives) to the power of minus this."""


def drawn_rows(labels: F32, merged: F32, popularity: F32, most: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Returns the rows to learn from, in order: all that were liked, and at most `most` others.

    Args:
        labels: float32 (n,), above 0 for what was liked.
        merged: float32 (n,), the candidates' merged score: a high one that was not liked is a hard negative.
        popularity: float32 (n,), log(1 + positive events) of each item.
        most: others at most.
        random: what chance is read from.

    """
    others = np.flatnonzero(labels <= 0)
    if len(others) > most:
        hard = round(HARD_SHARE * most)
        order = others[np.argsort(-merged[others], kind="stable")]
        rest = order[hard:]
        chances = np.exp(-POPULARITY_POWER * popularity[rest].astype(np.float64))
        more = random.choice(rest, most - hard, replace=False, p=chances / chances.sum())
        others = np.concatenate([order[:hard], more])
    return np.sort(np.concatenate([np.flatnonzero(labels > 0), others]))
