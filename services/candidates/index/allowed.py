"""Which rows may come, in the forms that searches read."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.index.bits import count_bits, has_bit, without

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.candidates.arrays import I64, Mask


class Allowed:
    """Which rows may come in one call: made once, read by every source. Never written to.

    Args:
        mask: bool (table rows,).

    """

    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    @classmethod
    def everything(cls, size: int) -> Allowed:
        """Returns that all of `size` rows may come."""
        return cls(np.ones(size, bool))

    def __len__(self) -> int:
        return len(self._mask)

    @property
    def mask(self) -> Mask:
        """Which rows may come, bool (table rows,). Of a large table `has` and `bits` cost less."""
        return self._mask

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

    def has(self, rows: I64) -> Mask:
        """Returns which of these rows of the table, (n,), may come: bool (n,)."""
        return self.mask[rows]

    def without(self, rows: I64) -> Allowed:
        """Returns that all of these may come but those in `rows`, int64 (n,)."""
        return _Without(self, rows)

    def within(self, other: Allowed) -> Allowed:
        """Returns which of these rows may come that may come by `other`, of a table of any length, as well."""
        return _Within(self, other)

    def from_row(self, row: int) -> Allowed:
        """Returns which of these rows may come that are not before `row`."""
        late = np.arange(row, len(self))
        mask = np.zeros(len(self), bool)
        mask[row:] = self.has(late)
        return Allowed(mask)


class _Without(Allowed):
    """All of another's rows but a few: of a large table neither mask nor bitmap are made anew for them."""

    def __init__(self, base: Allowed, rows: I64) -> None:
        self._base = base
        self._rows = rows

    def __len__(self) -> int:
        return len(self._base)

    @cached_property
    def mask(self) -> Mask:
        mask = self._base.mask.copy()
        mask[self._rows] = False
        return mask

    @cached_property
    def count(self) -> int:
        return self._base.count - int(np.count_nonzero(self._base.has(np.unique(self._rows))))

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        return without(self._base.bits, self._rows)

    def has(self, rows: I64) -> Mask:
        return has_bit(self.bits, rows)


class _Within(Allowed):
    """The rows that two have in common."""

    def __init__(self, one: Allowed, other: Allowed) -> None:
        self._one = one
        self._other = other

    def __len__(self) -> int:
        return len(self._one)

    @cached_property
    def mask(self) -> Mask:
        mask = np.zeros(len(self), bool)
        shared = min(len(self), len(self._other))
        np.logical_and(self._one.mask[:shared], self._other.mask[:shared], out=mask[:shared])
        return mask

    @cached_property
    def count(self) -> int:
        return count_bits(self.bits)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        bits = np.zeros_like(self._one.bits)
        shared = min(len(bits), len(self._other.bits))
        np.bitwise_and(self._one.bits[:shared], self._other.bits[:shared], out=bits[:shared])
        return bits

    def has(self, rows: I64) -> Mask:
        return has_bit(self.bits, rows)
