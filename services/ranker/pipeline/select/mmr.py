"""Maximal marginal relevance (Carbonell and Goldstein, 1998)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from services.ranker.items.arrays import F32


class NearestTaken:
    """Minus the cosine to the nearest item of the list. `vectors`: float32 (n, dim), length 1, zeros where unknown."""

    def __init__(self, vectors: F32) -> None:
        self._vectors = vectors
        self._nearest = np.zeros(len(vectors), dtype=np.float32)

    def gains(self) -> F32:
        """Returns 0 to -1 for each candidate: float32 (n,)."""
        return -self._nearest

    def take(self, place: int) -> None:
        """Takes a candidate into the list."""
        self._nearest = np.maximum(self._nearest, self._vectors @ self._vectors[place])
