"""Sums over few of many rows: what a sparse model adds up for one user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from services.candidates.arrays import F32, I32, I64
    from services.candidates.index.allowed import Allowed

DENSE_ROWS = 65_536
"""Up to this many rows, one array over all of them is faster than sorting what was added."""
_PLACE_BITS = 32


class Sums:
    """Sums of values by row, 0 where nothing was added. Never written to.

    Small tables have one value per row. Of large ones only the rows are kept that something was added to, so that a
    call costs what the user's own entries cost, however many items there are.

    Args:
        rows: int64 or int32 (entries,), each below `size`; a row may come many times.
        values: float32 (entries,).
        size: number of rows of the table.

    """

    def __init__(self, rows: I64 | I32, values: F32, size: int) -> None:
        self._rows: I64 | None = None
        if size <= DENSE_ROWS:
            self._values: F32 = np.bincount(rows, values, minlength=size).astype(np.float32)
        else:
            self._rows, self._values = _added(rows, values)

    def at(self, rows: I64 | I32) -> F32:
        """Returns the sums of these rows, float32 (len(rows),); 0 for rows past the table."""
        if self._rows is None:
            inside = rows < len(self._values)
            if inside.all():
                return self._values[rows]
            sums = np.zeros(len(rows), np.float32)
            sums[inside] = self._values[rows[inside]]
            return sums
        if not len(self._rows):
            return np.zeros(len(rows), np.float32)
        places = np.minimum(np.searchsorted(self._rows, rows), len(self._rows) - 1)
        return np.where(self._rows[places] == rows, self._values[places], np.float32(0))

    def scores(self, rows: I64 | I32) -> F32:
        """Returns the sums of these rows as a source's scores: NaN where nothing speaks for a row."""
        sums = self.at(rows)
        return np.where(sums > 0, sums, np.float32(np.nan))

    def positive(self, allowed: Allowed) -> tuple[I64, F32]:
        """Returns the allowed rows with a sum above 0, int64 ascending, and their sums."""
        if self._rows is None:
            shared = min(len(self._values), len(allowed))
            rows = np.flatnonzero((self._values[:shared] > 0) & allowed.mask[:shared])
            return rows, self._values[rows]
        rows, values = self._rows, self._values
        known = (values > 0) & (rows < len(allowed))
        known[known] = allowed.has(rows[known])
        return rows[known], values[known]


def _added(rows: I64 | I32, values: F32) -> tuple[I64, F32]:
    """Returns the rows that come, int64 ascending, and the sum of each."""
    if not len(rows):
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    # Row and place in one number: numpy sorts numbers with vector instructions, several times faster than `argsort`.
    packed = (rows.astype(np.int64) << _PLACE_BITS) | np.arange(len(rows))
    packed.sort()
    order, ordered = packed & ((1 << _PLACE_BITS) - 1), packed >> _PLACE_BITS
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    # In float64, as `bincount` adds: the two ways must agree.
    sums = np.add.reduceat(values[order].astype(np.float64), starts)
    return ordered[starts], sums.astype(np.float32)
