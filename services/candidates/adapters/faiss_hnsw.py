"""Approximate inner product search in a graph (HNSW, Malkov and Yashunin 2018) with FAISS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from services.candidates.adapters.faiss_exact import selector_of, threads
from services.candidates.adapters.faiss_files import read_mapped
from services.candidates.index.parameters import HNSW

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from services.candidates.arrays import F32, I64
    from services.candidates.index.parameters import IndexParameters

_FILE = "index.faiss"
_ROWS_FILE = "rows.npy"


class HnswMain:
    """`MainIndex` on `faiss.IndexHNSWFlat`; the effort is `efSearch`.

    The graph links vectors that are near by cosine, and is walked by inner product. A graph linked by inner product
    has its links at the few long vectors, and finds less (on 100,000 clustered vectors with lengths as of ALS factors,
    at efSearch 200: recall .61 linked by inner product, .75 after the reduction to Euclidean distances of Bachrach et
    al. 2014, .83 by cosine).
    """

    type = HNSW

    def __init__(self, index: Any, rows: I64, vectors: F32, parameters: IndexParameters) -> None:
        self._index = index
        self._rows = rows
        self._translated = len(rows) != len(vectors)
        self.vectors = vectors
        self.first_effort = parameters.ef_search
        self.max_effort = max(1, len(rows))
        self.settings: Mapping[str, float] = {
            "hnsw_m": parameters.hnsw_m,
            "ef_construction": parameters.ef_construction,
        }

    @classmethod
    def build(cls, vectors: F32, parameters: IndexParameters) -> HnswMain:
        """Links the vectors, float32 (rows, dim); rows of NaN are left out."""
        rows = np.flatnonzero(~np.isnan(vectors[:, 0]))
        present = vectors if len(rows) == len(vectors) else vectors[rows]
        lengths = np.linalg.norm(present, axis=1, keepdims=True)
        index: Any = faiss.IndexHNSWFlat(vectors.shape[1], parameters.hnsw_m, faiss.METRIC_L2)
        index.hnsw.efConstruction = parameters.ef_construction
        generator: Any = faiss
        index.hnsw.rng = generator.RandomGenerator(parameters.seed)
        with threads(parameters.threads):
            index.add(present / np.where(lengths > 0, lengths, 1))
        _walk_by_inner_product(index, present)
        return cls(index, rows, vectors, parameters)

    @classmethod
    def open(cls, folder: Path, vectors: F32, parameters: IndexParameters) -> HnswMain:
        """Maps what `save` wrote."""
        # As a plain array: `take` copies a `memmap` first.
        rows = np.asarray(np.load(folder / _ROWS_FILE, mmap_mode="r"))
        return cls(read_mapped(folder / _FILE), rows, vectors, parameters)

    def save(self, folder: Path) -> None:
        """Writes the graph and its vectors."""
        faiss.write_index(self._index, str(folder / _FILE))
        np.save(folder / _ROWS_FILE, self._rows)

    def search(self, queries: F32, n: int, effort: int, bits: NDArray[np.uint8] | None) -> tuple[I64, F32]:
        """Returns the best rows and scores; see `MainIndex`."""
        cpp: Any = faiss  # its types are those of C++, its wrappers take arrays
        if bits is not None and self._translated:
            # The graph counts places; a selector that looks up each one's row would be called for each of them.
            mask = np.unpackbits(bits, bitorder="little", count=len(self.vectors))
            bits = np.packbits(mask.take(self._rows), bitorder="little")
        selector = None if bits is None else selector_of(bits)
        only_these = cpp.SearchParametersHNSW(efSearch=max(effort, n), sel=selector)
        scores, places = self._index.search(queries, n, params=only_these)
        if not self._translated:
            return places, scores
        return np.where(places < 0, -1, self._rows[places]), scores


def _walk_by_inner_product(index: Any, vectors: F32) -> None:
    """Gives a graph that was linked by Euclidean distances these vectors and inner products."""
    storage: Any = faiss.IndexFlatIP(vectors.shape[1])
    storage.add(vectors)
    linked = index.storage
    index.storage = storage
    # The graph owns its storage: it takes this one over, and the one before is Python's to free.
    storage.this.disown()
    linked.this.own()
    index.metric_type = faiss.METRIC_INNER_PRODUCT
    index.hnsw.is_similarity = True
