"""Vectors that came after the main index was built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.index.products import products_of
from services.candidates.sources.ranking import best_places

if TYPE_CHECKING:
    from services.candidates.arrays import F32, I64
    from services.candidates.index.allowed import Allowed

_MIN_CAPACITY = 256


@dataclass(frozen=True, eq=False)
class Delta:
    """Some vectors by row, searched one by one. Never changes: a write makes the next one.

    The memory of the vectors is shared with the next one and only ever appended to, so that a write costs what is
    written and a copy of the rows, and a search that goes on meanwhile reads what it began with. One writer.
    """

    rows: I64
    """Ascending."""
    slots: I64
    """Where each row's vector is in `memory`."""
    memory: F32
    """(capacity, dim)."""
    used: int
    """Slots written, also those of vectors that were replaced or removed since."""

    @classmethod
    def empty(cls, dim: int) -> Delta:
        """Returns one without vectors."""
        none = np.zeros(0, np.int64)
        return cls(none, none, np.empty((_MIN_CAPACITY, dim), np.float32), 0)

    def __len__(self) -> int:
        return len(self.rows)

    def put(self, rows: I64, vectors: F32) -> Delta:
        """Returns one with these vectors, (len(rows), dim), added or replaced; of a row named twice the last counts."""
        # `unique` names the first place of each row: of the reversed rows that is the last one.
        added, last = np.unique(rows[::-1], return_index=True)
        kept = self.remove(added).with_room(len(added))
        end = kept.used + len(added)
        kept.memory[kept.used : end] = vectors[len(rows) - 1 - last]
        every = np.concatenate([kept.rows, added])
        slots = np.concatenate([kept.slots, np.arange(kept.used, end)])
        order = np.argsort(every, kind="stable")
        return Delta(every[order], slots[order], kept.memory, end)

    def remove(self, rows: I64) -> Delta:
        """Returns one without these rows."""
        if not len(self.rows):
            return self
        keep = np.isin(self.rows, rows, invert=True)
        return self if keep.all() else Delta(self.rows[keep], self.slots[keep], self.memory, self.used)

    def search(self, query: F32, n: int, allowed: Allowed) -> tuple[I64, F32]:
        """Returns rows and inner products of the `n` best allowed vectors, best first.

        Raises:
            ValueError: an inner product is not finite, so that there is no order.

        """
        ends = int(np.searchsorted(self.rows, len(allowed)))
        rows = self.rows[:ends]
        chosen = allowed.has(rows)
        scores = products_of(self.memory[: self.used], query)[self.slots[:ends]]
        rows, scores = rows[chosen], scores[chosen]
        places = best_places(rows, scores, n)
        return rows[places], scores[places]

    def fill(self, rows: I64, found: F32) -> None:
        """Writes the vectors of those of the rows that are here into `found`, (len(rows), dim)."""
        if not len(self.rows):
            return
        places = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        here = self.rows[places] == rows
        found[here] = self.memory[self.slots[places[here]]]

    def with_room(self, more: int) -> Delta:
        """Returns one with the same vectors and memory for so many more."""
        if self.used + more <= len(self.memory):
            return self
        count = len(self.rows)
        memory = np.empty((max(_MIN_CAPACITY, 2 * (count + more)), self.memory.shape[1]), np.float32)
        memory[:count] = self.memory[self.slots]
        return Delta(self.rows, np.arange(count), memory, count)
