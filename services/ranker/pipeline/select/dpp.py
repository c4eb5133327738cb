"""Determinantal point process: the list spans as much volume as it can.

Greedy maximum a posteriori by the incremental Cholesky factor of Chen, Zhang and Zhou, "Fast greedy MAP inference for
determinantal point process to improve recommendation diversity" (2018): O(n k) per item of a list of k out of n.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from services.ranker.items.arrays import F32, Mask

RIDGE = 1e-3
"""Share of the identity in the kernel: two equal items still span a volume, and lists may be longer than vectors."""


class Volume:
    """What an item adds to log det of the list's kernel, 0 to log(RIDGE); 0 is unlike all before it together.

    The kernel is (1 - RIDGE) V V' + RIDGE I over `vectors`, float32 (n, dim) of length 1; items whose row is not
    `known` (bool, (n,)) are unlike all others.
    """

    def __init__(self, vectors: F32, known: Mask, count: int) -> None:
        self._vectors = np.asarray(vectors, dtype=np.float64)
        self._known = known
        # Row j: the j-th column of the Cholesky factor, for all candidates.
        self._factor = np.zeros((min(count, len(vectors)), len(vectors)))
        self._taken = 0
        self._variance = np.ones(len(vectors))

    def gains(self) -> F32:
        """Returns the logarithm of what is left of each candidate: float32 (n,)."""
        return np.log(np.maximum(self._variance, RIDGE * 0.5)).astype(np.float32)

    def take(self, place: int) -> None:
        """Takes a candidate into the list: one more column of the factor."""
        if self._taken >= len(self._factor):
            return
        column = (1 - RIDGE) * (self._vectors @ self._vectors[place])
        column[~self._known] = 0.0
        column[place] = 1.0
        before = self._factor[: self._taken]
        row = (column - before[:, place] @ before) / np.sqrt(max(self._variance[place], RIDGE * 0.5))
        self._factor[self._taken] = row
        self._taken += 1
        self._variance = self._variance - row**2
