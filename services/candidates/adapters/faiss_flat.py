"""Exact inner product search, with rows written in place while others search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import numpy as np

from services.candidates.index.products import checked
from services.candidates.sources.ranking import best_places

if TYPE_CHECKING:
    from services.candidates.arrays import F32, I64, Mask
    from services.candidates.index.allowed import Allowed

_MIN_CAPACITY = 256
_BLOCK = 16
"""Rows that BLAS multiplies alike: what is left over is rounded otherwise, and equal vectors must score the same."""
FEW_ROWS = 0.25
"""Up to this share of the rows it is faster to gather the allowed ones than to multiply all."""


def use_one_thread() -> None:
    """Makes searches of this process run in the thread that asks."""
    faiss.omp_set_num_threads(1)


class _Storage:
    """Room for a fixed number of rows; rows that were never written are zero."""

    def __init__(self, dim: int, capacity: int) -> None:
        self.vectors: F32 = np.zeros((_in_blocks(capacity), dim), np.float32)
        self.filled: Mask = np.zeros(capacity, bool)


class FlatIndex:
    """`VectorIndex` that multiplies all vectors with the query.

    By BLAS: at ten thousand vectors half the time of `faiss.IndexFlatIP`, which asks its selector about each vector and
    multiplies one by one. Room is made ahead, rows are written in place, and a full storage is replaced by a larger
    one: a search keeps the one it began with.
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
            bigger.vectors[:old] = self._storage.vectors[:old]
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
            ValueError: an inner product is not finite, so that there is no order.

        """
        storage = self._storage
        shared = min(len(allowed), len(storage.filled))
        rows = np.flatnonzero(storage.filled[:shared] & allowed.mask[:shared])
        if n <= 0 or not len(rows):
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        if len(rows) <= FEW_ROWS * shared:
            gathered = np.zeros(_in_blocks(len(rows)), np.int64)
            gathered[: len(rows)] = rows
            products = _products(np.take(storage.vectors, gathered, axis=0), query)[: len(rows)]
        else:
            products = _products(storage.vectors[: _in_blocks(shared)], query)[rows]
        scores = checked(products)
        places = best_places(rows, scores, n)
        return rows[places], scores[places]

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


def _in_blocks(rows: int) -> int:
    """Returns the number of rows, rounded up to whole blocks."""
    return -(-rows // _BLOCK) * _BLOCK


def _products(vectors: F32, query: F32) -> F32:
    with np.errstate(over="ignore", invalid="ignore"):
        products: F32 = vectors @ query
    return products
