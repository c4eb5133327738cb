"""Exact inner product search in FAISS, with rows written in place while others search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

if TYPE_CHECKING:
    from services.candidates.arrays import F32, I64, Mask
    from services.candidates.index.allowed import Allowed

_MIN_CAPACITY = 256


def use_one_thread() -> None:
    """Makes searches of this process run in the thread that asks."""
    faiss.omp_set_num_threads(1)


class _Storage:
    """A FAISS index of a fixed number of rows, and numpy's view of its memory."""

    def __init__(self, dim: int, capacity: int) -> None:
        self.index = faiss.IndexFlatIP(dim)
        self.index.add(np.zeros((capacity, dim), np.float32))
        self.vectors: F32 = faiss.rev_swig_ptr(self.index.get_xb(), capacity * dim).reshape(capacity, dim)
        self.filled: Mask = np.zeros(capacity, bool)


class FlatIndex:
    """`VectorIndex` on `faiss.IndexFlatIP`.

    FAISS moves its memory when vectors are added, under the feet of a running search. So room is made ahead, rows
    are written in place, and a full storage is replaced by a larger one: a search keeps the one it began with.
    """

    type = "flat"
    pending = 0
    rebuilds = 0
    recall_at_100 = 1.0
    parameters = ""

    def __init__(self, dim: int, capacity: int = _MIN_CAPACITY) -> None:
        self._dim = dim
        self._storage = _Storage(dim, max(capacity, _MIN_CAPACITY))

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._dim

    @property
    def count(self) -> int:
        """Vectors in the index."""
        return int(self._storage.filled.sum())

    def needs_rebuild(self) -> bool:
        """Returns False: rows are written in place."""
        return False

    def rebuild(self) -> None:
        """Does nothing."""

    def count_from(self, row: int) -> int:
        """Returns the number of vectors in this row and those after it."""
        return int(self._storage.filled[row:].sum())

    def put(self, rows: I64, vectors: F32) -> None:
        """Adds or replaces the vectors of these rows."""
        if not len(rows):
            return
        needed = int(rows.max()) + 1
        if needed > len(self._storage.filled):
            bigger = _Storage(self._dim, needed * 5 // 4)
            old = len(self._storage.filled)
            bigger.vectors[:old] = self._storage.vectors
            bigger.filled[:old] = self._storage.filled
            self._storage = bigger
        self._storage.vectors[rows] = vectors
        self._storage.filled[rows] = True

    def remove(self, rows: I64) -> None:
        """Takes these rows out."""
        inside = rows[rows < len(self._storage.filled)]
        self._storage.filled[inside] = False

    def search(self, query: F32, n: int, allowed: Allowed) -> tuple[I64, F32]:
        """Returns rows and inner products of the `n` best allowed vectors, best first.

        Raises:
            ValueError: an inner product is not finite: FAISS has row -1 for it, which must index nothing.

        """
        storage = self._storage
        selected = storage.filled.copy()
        shared = min(len(allowed), len(selected))
        selected[:shared] &= allowed.mask[:shared]
        selected[shared:] = False
        wanted = min(n, int(np.count_nonzero(selected)))
        if wanted <= 0:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        bits = np.packbits(selected, bitorder="little")
        selector: Any = faiss.IDSelectorBitmap
        parameters: Any = faiss.SearchParameters
        only_these = parameters(sel=selector(bits))  # FAISS's types are those of C++, its wrappers take arrays
        scores, rows = storage.index.search(query.reshape(1, -1).astype(np.float32), wanted, params=only_these)
        if rows[0].min() < 0:
            raise ValueError("the query has no finite inner product with some vectors: FAISS found no rows for them")
        order = np.lexsort((rows[0], -scores[0]))
        return rows[0][order], scores[0][order]

    def vectors(self, rows: I64) -> F32:
        """Returns the vectors of these rows; NaN where there is none."""
        storage = self._storage
        inside = rows < len(storage.filled)
        found: F32
        if inside.all():
            found = storage.vectors[rows]
            found[~storage.filled[rows]] = np.nan
            return found
        found = np.full((len(rows), self._dim), np.nan, np.float32)
        inside[inside] = storage.filled[rows[inside]]
        found[inside] = storage.vectors[rows[inside]]
        return found
