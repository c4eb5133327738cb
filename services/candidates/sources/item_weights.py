"""What each item says about others: sparse weights from item to item, added up over a user's likes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.sources.sums import Sums

if TYPE_CHECKING:
    from pathlib import Path

    from services.candidates.arrays import F32, I32, I64, Mask
    from services.candidates.profile import Profile

NO_LIKES = "no liked item in the history that the model knows"


@dataclass(frozen=True, eq=False)
class _Entries:
    """The liked items' rows of the weights, one after the other."""

    usable: Mask
    """Which of the liked items have weights."""
    lengths: I64
    """Entries of each of those."""
    columns: I32
    weights: F32


@dataclass(frozen=True, eq=False)
class ItemWeights:
    """Row i holds what a like of item i adds to the score of other items: CSR arrays.

    `indptr` int64 (items + 1,), `columns` int32 and `weights` float32 (entries,), each row's columns ascending.
    """

    indptr: I64
    columns: I32
    weights: F32

    @classmethod
    def nothing(cls, size: int) -> ItemWeights:
        """Returns that no item says anything about any of `size` items."""
        return cls(np.zeros(size + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))

    @classmethod
    def of(cls, rows: I32, columns: I32, weights: F32, size: int, keep: int) -> ItemWeights:
        """Returns the weights of these entries; of each row the `keep` largest by absolute value.

        Args:
            rows: the liked item of each entry, int32 (entries,); the columns of each of them come ascending.
            columns: the item that the entry speaks for, int32 (entries,).
            weights: float32 (entries,).
            size: number of items.
            keep: bound of a row: an item that speaks for thousands makes each call of those who like it slow.

        """
        order = np.argsort(rows, kind="stable")
        columns, weights = columns[order], weights[order]
        lengths = np.bincount(rows, minlength=size)
        ends = np.cumsum(lengths)
        kept = np.ones(len(rows), bool)
        for row in np.flatnonzero(lengths > keep).tolist():
            part = slice(ends[row] - lengths[row], ends[row])
            kept[part] = largest(np.abs(weights[part]), keep)
        lengths = np.minimum(lengths, keep)
        return cls(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), columns[kept], weights[kept])

    @property
    def size(self) -> int:
        """Number of items that the rows and columns stand for."""
        return len(self.indptr) - 1

    def sums(self, profile: Profile) -> Sums | None:
        """Returns each item's sum of weights, times the strength of the like; None when no liked item says anything."""
        return profile.keep(f"item weights {id(self)}", lambda: self._sums(profile))

    def _sums(self, profile: Profile) -> Sums | None:
        # The same for every view that only weighs the likes otherwise.
        own = profile.keep_of_liked(f"item weights entries {id(self)}", lambda: self._entries(profile.liked))
        if own is None:
            return None
        strengths = np.repeat(profile.strengths[own.usable], own.lengths)
        return Sums(own.columns, own.weights * strengths, self.size)

    def _entries(self, liked: I64) -> _Entries | None:
        usable = liked < self.size
        starts, ends = self.indptr[liked[usable]], self.indptr[liked[usable] + 1]
        lengths = ends - starts
        usable[usable] = lengths > 0
        if not usable.any():
            return None
        # Whole rows are copied: much cheaper than to look up some ten thousand places one by one.
        parts = [slice(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True) if end > start]
        columns = np.concatenate([self.columns[part] for part in parts])
        weights = np.concatenate([self.weights[part] for part in parts])
        return _Entries(usable, lengths[lengths > 0], columns, weights)

    def save(self, folder: Path) -> None:
        """Writes the weights into a folder, which is made when it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("indptr", "columns", "weights"):
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> ItemWeights:
        """Reads what `save` wrote; the arrays stay on disk until they are used.

        Raises:
            OSError, ValueError: the folder does not hold weights.

        """
        # As plain arrays: every slice of a `memmap` costs microseconds.
        names = ("indptr", "columns", "weights")
        return cls(*(np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in names))


def largest(values: F32, keep: int) -> Mask:
    """Returns which of the values, (count,), are the `keep` largest; of equal ones the first."""
    if keep >= len(values):
        return np.ones(len(values), bool)
    threshold = np.partition(values, len(values) - keep)[len(values) - keep]
    chosen: Mask = values > threshold
    chosen[np.flatnonzero(values == threshold)[: keep - int(chosen.sum())]] = True
    return chosen
