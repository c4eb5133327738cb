"""Exact inner product search with FAISS over a matrix that stays where it is: in memory or mapped from a file."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from services.candidates.index.parameters import FLAT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from services.candidates.arrays import F32, I64


def selector_of(bits: NDArray[np.uint8]) -> Any:
    """Returns a selector of the rows whose bits are set; `bits` must live as long as it does."""
    # FAISS's types are those of C++, its wrappers take arrays.
    selector: Any = faiss.IDSelectorBitmap
    return selector(bits)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Lets FAISS use so many threads for what this thread asks of it meanwhile."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def search_matrix(vectors: F32, queries: F32, n: int, bits: NDArray[np.uint8] | None) -> tuple[I64, F32]:
    """Returns rows, int64, and inner products, float32, (queries, n), best first; row -1 where there are fewer.

    Args:
        vectors: float32 (rows, dim), in rows; a row with NaN is never found.
        queries: float32 (queries, dim).
        n: rows wanted.
        bits: bitmap of the rows that may come; None for all.

    """
    rows = np.full((len(queries), n), -1, np.int64)
    scores = np.zeros((len(queries), n), np.float32)
    if not len(vectors) or not n:
        return rows, scores
    pointer: Any = faiss.swig_ptr
    queries = np.ascontiguousarray(queries, np.float32)
    selector = None if bits is None else selector_of(bits)
    # One at a time: many at once go through BLAS, which knows no selector.
    for query, its_rows, its_scores in zip(queries, rows, scores, strict=True):
        faiss.knn_inner_product(
            pointer(query),
            pointer(vectors),
            vectors.shape[1],
            1,
            len(vectors),
            n,
            pointer(its_scores),
            pointer(its_rows),
            selector,
        )
    return rows, scores


class ExactMain:
    """`MainIndex` that scans every vector."""

    type = FLAT
    first_effort = 1
    max_effort = 1
    settings: Mapping[str, float] = {}

    def __init__(self, vectors: F32) -> None:
        self.vectors = vectors

    def search(self, queries: F32, n: int, effort: int, bits: NDArray[np.uint8] | None) -> tuple[I64, F32]:
        """Returns the best rows and scores; see `MainIndex`."""
        del effort
        return search_matrix(self.vectors, queries, n, bits)

    def save(self, folder: Path) -> None:
        """Writes nothing: the vectors are all there is."""
