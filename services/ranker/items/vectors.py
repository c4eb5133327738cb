"""Item vectors: a read-only block from an artifact (memory-mapped), and rows that came later."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Rows = NDArray[np.intp]

_MISSING = -1


class ItemVectors:
    """Vectors of length 1 by row: float32, `dim` values each; a row may have none.

    A row's vector is found by its slot: below the number of base vectors in the base block, from there on
    in the block that grows.
    """

    def __init__(self, base: F32 | None = None) -> None:
        self._base: F32 = np.zeros((0, 0), dtype=np.float32) if base is None else base
        self._later: F32 = np.zeros((0, self._base.shape[1]), dtype=np.float32)
        self._used = 0
        self._slots: NDArray[np.int64] = np.arange(len(self._base), dtype=np.int64)

    @property
    def dim(self) -> int:
        """Length of a vector; 0 before the first."""
        return int(self._base.shape[1] or self._later.shape[1])

    @property
    def count(self) -> int:
        """Rows that have a vector."""
        return int((self._slots != _MISSING).sum())

    def has(self, row: int) -> bool:
        """Returns whether a row has a vector."""
        return 0 <= row < len(self._slots) and bool(self._slots[row] != _MISSING)

    def put(self, row: int, vector: F32) -> None:
        """Sets the vector of a row, in place when it has one already in the growing block."""
        if self.dim == 0:
            self._base = self._later = np.zeros((0, len(vector)), dtype=np.float32)
        if row >= len(self._slots):
            more = max(row + 1 - len(self._slots), len(self._slots) // 2)
            self._slots = np.concatenate([self._slots, np.full(more, _MISSING, dtype=np.int64)])
        slot = int(self._slots[row])
        if slot < len(self._base):
            slot = len(self._base) + self._used
            self._used += 1
            if self._used > len(self._later):
                grown = np.zeros((max(64, 2 * len(self._later)), self.dim), dtype=np.float32)
                grown[: len(self._later)] = self._later
                self._later = grown
            self._slots[row] = slot
        self._later[slot - len(self._base)] = vector

    def drop(self, row: int) -> None:
        """Forgets the vector of a row."""
        if row < len(self._slots):
            self._slots[row] = _MISSING

    def take(self, rows: Rows) -> tuple[F32, NDArray[np.bool_]]:
        """Returns the vectors of n rows, float32 (n, dim), zeros where `found` (bool, (n,)) is False; -1 is no row."""
        slots = np.full(len(rows), _MISSING, dtype=np.int64)
        inside = (rows >= 0) & (rows < len(self._slots))
        slots[inside] = self._slots[rows[inside]]
        out = np.zeros((len(rows), self.dim), dtype=np.float32)
        base = (slots >= 0) & (slots < len(self._base))
        later = slots >= len(self._base)
        out[base] = self._base[slots[base]]
        out[later] = self._later[slots[later] - len(self._base)]
        return out, base | later
