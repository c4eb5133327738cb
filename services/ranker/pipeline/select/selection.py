"""Which places of the scored candidates are shown, in order, and how sure that was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from services.ranker.items.arrays import F32

STAGE = "select"


@dataclass(frozen=True)
class Selection:
    """Places of the shown candidates, best first, and the probability of each to stand where it stands.

    `pinned` are the places that stand where a pin says; `unmet` says what was asked for and could not be given.
    """

    places: list[int]
    propensities: list[float]
    pinned: frozenset[int] = frozenset()
    unmet: tuple[str, ...] = field(default=())

    @classmethod
    def certain(cls, places: list[int]) -> Selection:
        """Returns a selection without chance."""
        return cls(places, [1.0] * len(places))


def order_by_score(scores: F32) -> list[int]:
    """Returns all places, best first, in the order they came in where scores are equal."""
    return [int(place) for place in np.argsort(-scores, kind="stable")]
