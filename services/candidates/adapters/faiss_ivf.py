"""Approximate inner product search in clusters (inverted lists), whole or compressed vectors, with FAISS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from services.candidates.adapters.faiss_exact import selector_of, threads
from services.candidates.adapters.faiss_files import read_mapped
from services.candidates.index.choice import code_bytes, number_of_lists
from services.candidates.index.parameters import IVF, IVF_PQ

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from services.candidates.arrays import F32, I64
    from services.candidates.index.parameters import IndexParameters

_FILE = "index.faiss"
_ITERATIONS = 8
_POINTS_PER_LIST = 40
_PQ_BITS = 8
_PQ_POINTS = 65_536
_GROWTH = 2
"""Clusters are found anew when there are this many times more or fewer vectors than they were found of."""


class IvfMain:
    """`MainIndex` on `faiss.IndexIVFFlat`; the effort is `nprobe`.

    Vectors belong to the cluster that is nearest by Euclidean distance, and a search takes the clusters with the
    largest inner products. Clusters by inner product would put most vectors under the few longest centroids.
    """

    type = IVF

    def __init__(self, index: Any, vectors: F32, parameters: IndexParameters) -> None:
        self._index = index
        self._parameters = parameters
        self.vectors = vectors
        self.first_effort = min(parameters.nprobe, index.nlist)
        self.max_effort = int(index.nlist)

    @property
    def settings(self) -> Mapping[str, float]:
        """What it was built with."""
        return {"lists": self.max_effort}

    @classmethod
    def build(cls, vectors: F32, parameters: IndexParameters, previous: IvfMain | None = None) -> IvfMain:
        """Sorts the vectors, float32 (rows, dim), into clusters; rows of NaN are left out.

        Args:
            vectors: may be kept.
            parameters: of the index.
            previous: an index over mostly the same vectors, whose clusters are taken if they are still enough.

        """
        rows = np.flatnonzero(~np.isnan(vectors[:, 0]))
        present = vectors if len(rows) == len(vectors) else vectors[rows]
        with threads(parameters.threads):
            before = None if previous is None else previous.centroids_for(len(rows))
            index = cls._filled(
                present, rows, _centroids(present, parameters) if before is None else before, parameters
            )
        return cls(index, vectors, parameters)

    @classmethod
    def open(cls, folder: Path, vectors: F32, parameters: IndexParameters) -> IvfMain:
        """Maps what `save` wrote."""
        return cls(read_mapped(folder / _FILE), vectors, parameters)

    def save(self, folder: Path) -> None:
        """Writes the lists."""
        faiss.write_index(self._index, str(folder / _FILE))

    def search(self, queries: F32, n: int, effort: int, bits: NDArray[np.uint8] | None) -> tuple[I64, F32]:
        """Returns the best rows and scores; see `MainIndex`."""
        parameters: Any = faiss.SearchParametersIVF
        selector = None if bits is None else selector_of(bits)
        scores, rows = self._index.search(queries, n, params=parameters(nprobe=effort, sel=selector))
        return rows, scores

    def centroids_for(self, count: int) -> F32 | None:
        """Returns the clusters' centres if they suit so many vectors, else None."""
        if not self._index.ntotal / _GROWTH <= count <= self._index.ntotal * _GROWTH:
            return None
        centroids: F32 = self._index.quantizer.reconstruct_n(0, self.max_effort)
        return centroids

    @classmethod
    def _filled(cls, present: F32, rows: I64, centroids: F32, parameters: IndexParameters) -> Any:
        del parameters
        nearest = _quantizer(centroids, faiss.METRIC_L2)
        index = faiss.IndexIVFFlat(nearest, present.shape[1], len(centroids), faiss.METRIC_INNER_PRODUCT)
        index.train(centroids)
        index.add_with_ids(present, rows)
        _probe_by_inner_product(index, centroids)
        return index


class IvfPqMain(IvfMain):
    """`MainIndex` on `faiss.IndexIVFPQ` (Jégou et al. 2011): a few bytes per vector in memory.

    Compressed vectors find several times more rows than are wanted; those are scored anew with the vectors as they
    are, which stay on the disk.
    """

    type = IVF_PQ

    @property
    def settings(self) -> Mapping[str, float]:
        """What it was built with."""
        return {"lists": self.max_effort, "pq_m": int(self._index.pq.M), "rerank": self._parameters.rerank}

    def search(self, queries: F32, n: int, effort: int, bits: NDArray[np.uint8] | None) -> tuple[I64, F32]:
        """Returns the best rows and scores; see `MainIndex`."""
        found, _ = super().search(queries, n * self._parameters.rerank, effort, bits)
        candidates = np.take(self.vectors, np.maximum(found, 0), axis=0)
        scores = np.einsum("qrd,qd->qr", candidates, queries)
        scores[found < 0] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :n]
        return np.take_along_axis(found, best, axis=1), np.take_along_axis(scores, best, axis=1)

    @classmethod
    def _filled(cls, present: F32, rows: I64, centroids: F32, parameters: IndexParameters) -> Any:
        dim = present.shape[1]
        nearest = _quantizer(centroids, faiss.METRIC_L2)
        codes = code_bytes(dim, parameters)
        index = faiss.IndexIVFPQ(nearest, dim, len(centroids), codes, _PQ_BITS, faiss.METRIC_INNER_PRODUCT)
        index.pq.cp.seed = parameters.seed
        sample = np.random.default_rng(parameters.seed).choice(
            len(present), min(len(present), _PQ_POINTS), replace=False
        )
        index.train(present[np.sort(sample)])
        index.add_with_ids(present, rows)
        _probe_by_inner_product(index, centroids)
        return index


def _centroids(vectors: F32, parameters: IndexParameters) -> F32:
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        number_of_lists(len(vectors), parameters),
        niter=_ITERATIONS,
        seed=parameters.seed,
        max_points_per_centroid=_POINTS_PER_LIST,
        min_points_per_centroid=1,
    )
    kmeans.train(vectors)
    return np.asarray(kmeans.centroids, np.float32)


def _quantizer(centroids: F32, metric: int) -> Any:
    quantizer = faiss.IndexFlat(centroids.shape[1], metric)
    quantizer.add(centroids)
    return quantizer


def _probe_by_inner_product(index: Any, centroids: F32) -> None:
    quantizer = _quantizer(centroids, faiss.METRIC_INNER_PRODUCT)
    index.quantizer = quantizer
    index.own_fields = True
    quantizer.this.disown()
