"""Item vectors: a read-only block from an artifact (memory-mapped), and rows that came later."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.ranker.items.arrays import take_rows

F32 = NDArray[np.float32]
Rows = NDArray[np.intp]

_MISSING = -1


class ItemVectors:
    """Vectors of length 1 by row: float32, `dim` values each; a row may have none.

    A row's vector is found by its slot: below the number of base vectors in the base block, from there on
    in the block that grows. One thread writes, others may read meanwhile. `base` is float32 (rows, dim); of its rows,
    those that are not `found` (bool, (rows,); None: all are) have no vector.
    """

    def __init__(self, base: F32 | None = None, found: NDArray[np.bool_] | None = None) -> None:
        self._base: F32 = np.zeros((0, 0), dtype=np.float32) if base is None else base
        self._later: F32 = np.zeros((0, self._base.shape[1]), dtype=np.float32)
        self._used = 0
        self._slots: NDArray[np.int64] = np.arange(len(self._base), dtype=np.int64)
        if found is not None:
            self._slots[~found] = _MISSING

    @property
    def dim(self) -> int:
        """Length of a vector; 0 before the first."""
        return int(self._base.shape[1] or self._later.shape[1])

    @property
    def count(self) -> int:
        """Rows that have a vector."""
        return int((self._slots != _MISSING).sum())

    @property
    def lacking(self) -> Rows:
        """The rows that have none."""
        return np.flatnonzero(self._slots == _MISSING)

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
        # The slot last: who reads meanwhile finds the old vector or the new one.
        self._later[slot - len(self._base)] = vector
        self._slots[row] = slot

    def drop(self, row: int) -> None:
        """Forgets the vector of a row."""
        if row < len(self._slots):
            self._slots[row] = _MISSING

    def take(self, rows: Rows) -> tuple[F32, NDArray[np.bool_]]:
        """Returns the vectors of n rows, float32 (n, dim), zeros where `found` (bool, (n,)) is False; -1 is no row."""
        # The slots first: the blocks that are read after them hold all that they point at.
        slots = take_rows(self._slots, rows, _MISSING)
        base, later = self._base, self._later
        out = np.zeros((len(rows), base.shape[1] or later.shape[1]), dtype=np.float32)
        in_base = (slots >= 0) & (slots < len(base))
        in_later = slots >= len(base)
        out[in_base] = base[slots[in_base]]
        out[in_later] = later[slots[in_later] - len(base)]
        return out, in_base | in_later

    def arranged(self, rows: Rows) -> ItemVectors:
        """Returns the vectors of n rows as rows 0 to n - 1; those of -1 have none. The base block is shared."""
        made = ItemVectors(self._base)
        made._slots = take_rows(self._slots, rows, _MISSING)
        made._later, made._used = self._later.copy(), self._used
        return made

    def products(self, columns: F32, rows: int) -> tuple[F32, NDArray[np.bool_]]:
        """Returns the inner products of the first `rows` rows' vectors with `columns`, float32 (dim, m): (rows, m).

        With it which rows have a vector, bool (rows,); the others are zero. The vectors are read where they lie, none
        is copied.
        """
        slots = take_rows(self._slots, np.arange(rows, dtype=np.intp), _MISSING)
        base, later = self._base, self._later
        out = np.zeros((rows, columns.shape[1]), dtype=np.float32)
        for place, block in ((0, base), (len(base), later)):
            inside = (slots >= place) & (slots < place + len(block))
            if inside.any():
                out[inside] = (block @ columns)[slots[inside] - place]
        return out, slots != _MISSING
