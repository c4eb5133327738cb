"""Which of a list's other items are learned from: some of them hard, fewer of them popular, where that is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.ranker.items.arrays import F32


@dataclass(frozen=True)
class Negatives:
    """How they are drawn, for one list: uniformly, unless said otherwise.

    `most`: how many at most. `hard`: share of them that goes to the items that stood first among the candidates. The
    others are drawn with a chance in proportion to (1 + positives) to the power of minus `popularity`.
    """

    most: int = 100
    hard: float = 0.0
    popularity: float = 0.0


UNIFORM = Negatives()


def drawn_rows(
    labels: F32, merged: F32, popularity: F32, wanted: Negatives, random: np.random.Generator
) -> NDArray[np.intp]:
    """Returns the rows to learn from, in order: all that were liked, and others as `wanted`.

    Args:
        labels: float32 (n,), above 0 for what was liked.
        merged: float32 (n,), the candidates' merged score: a high one that was not liked is a hard negative.
        popularity: float32 (n,), log(1 + positive events) of each item.
        wanted: how many others, and which.
        random: what chance is read from.

    """
    others = np.flatnonzero(labels <= 0)
    if len(others) > wanted.most:
        hard = round(wanted.hard * wanted.most)
        order = others[np.argsort(-merged[others], kind="stable")]
        rest = order[hard:]
        chances = np.exp(-wanted.popularity * popularity[rest].astype(np.float64))
        more = random.choice(rest, wanted.most - hard, replace=False, p=chances / chances.sum())
        others = np.concatenate([order[:hard], more])
    return np.sort(np.concatenate([np.flatnonzero(labels > 0), others]))
