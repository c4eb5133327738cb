"""Which rows may come, in the forms that searches read."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.candidates.arrays import I64, Mask


class Allowed:
    """Which rows may come in one call: made once, read by every source. Never written to.

    Args:
        mask: bool (table rows,).

    """

    def __init__(self, mask: Mask) -> None:
        self.mask = mask

    @classmethod
    def everything(cls, size: int) -> Allowed:
        """Returns that all of `size` rows may come."""
        return cls(np.ones(size, bool))

    def __len__(self) -> int:
        return len(self.mask)

    @cached_property
    def count(self) -> int:
        """Number of rows that may come."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def rows(self) -> I64:
        """The rows that may come, int64 ascending."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """The mask as a bitmap, the lowest bit first: what FAISS's `IDSelectorBitmap` reads."""
        return np.packbits(self.mask, bitorder="little")

    def within(self, mask: Mask) -> Allowed:
        """Returns which of these rows may come that `mask`, bool (any length), has as well; the others may not."""
        narrowed = np.zeros_like(self.mask)
        shared = min(len(mask), len(narrowed))
        np.logical_and(self.mask[:shared], mask[:shared], out=narrowed[:shared])
        return Allowed(narrowed)

    def from_row(self, row: int) -> Allowed:
        """Returns which of these rows may come that are not before `row`; the others may not."""
        narrowed = self.mask.copy()
        narrowed[:row] = False
        return Allowed(narrowed)

    def has(self, rows: I64) -> Mask:
        """Returns which of these rows of the table, (n,), may come: bool (n,)."""
        return self.mask[rows]
