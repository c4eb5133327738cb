"""Index types at a million vectors: recall and speed against a flat index in the same run, filters, writes.

The vectors are made up: 2,000 Gaussian clusters (centres of variance 1 in 64 dimensions, spread .35 around them), the
size of a cluster falling with its number to the power of .7, lengths log-normal (sigma .3) as those of ALS factors are.
A query is a user: the mean of 20 vectors, half of them from one cluster. Searches run in one thread.
"""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.index.allowed import Allowed
from services.candidates.index.parameters import TYPES, IndexParameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.candidates.ports import VectorIndex

    F32 = NDArray[np.float32]

DIM, CLUSTERS, QUERIES, K = 64, 2_000, 200, 100
SHARES = (0.1, 0.01, 0.001)


def vectors_and_queries(count: int, seed: int = 3) -> tuple[F32, F32]:
    """Returns `count` vectors and `QUERIES` queries, float32."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((CLUSTERS, DIM), np.float32)
    weights = np.arange(1, CLUSTERS + 1) ** -0.7
    of = random.choice(CLUSTERS, count, p=weights / weights.sum())
    vectors = random.standard_normal((count, DIM), np.float32)
    vectors *= 0.35
    vectors += centres[of]
    vectors *= random.lognormal(0, 0.3, (count, 1)).astype(np.float32)
    order = np.argsort(of, kind="stable")
    first = np.searchsorted(of[order], np.arange(CLUSTERS))
    queries = []
    for _ in range(QUERIES):
        cluster = of[random.integers(count)]
        start, end = first[cluster], first[cluster + 1] if cluster + 1 < CLUSTERS else count
        near = order[random.integers(start, end, 10)]
        queries.append(vectors[np.concatenate([near, random.integers(0, count, 10)])].mean(axis=0))
    return vectors, np.stack(queries).astype(np.float32)


def main(count: int) -> dict[str, Any]:
    """Builds and measures every type over `count` vectors; returns the figures by type."""
    faiss.omp_set_num_threads(1)
    vectors, queries = vectors_and_queries(count)
    everything = Allowed.everything(count)
    figures: dict[str, Any] = {"vectors": count, "dim": DIM, "k": K}
    true: list[Any] = []
    flat_ms = 0.0
    for kind in TYPES:
        parameters = IndexParameters(type=kind)
        before = _rss_mb()
        index = FaissIndexes(parameters).build(vectors)
        found, p50 = _timed(index, queries, everything)
        if kind == "flat":
            true, flat_ms = found, p50
        recall = float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, true, strict=True)]))
        figures[kind] = {
            "build_s": index.built.report.build_s,
            "parameters": index.parameters,
            "rss_growth_mb": round(_rss_mb() - before),
            "p50_ms": round(p50, 3),
            "flat_over_this": round(flat_ms / p50, 1),
            "recall_at_100": round(recall, 4),
            "filters": {str(share): _filtered(index, queries, count, share) for share in SHARES},
            **_written(index, vectors),
        }
    return figures


def _timed(index: VectorIndex, queries: F32, allowed: Allowed) -> tuple[list[Any], float]:
    """Returns the rows of each query and the median time of one, milliseconds."""
    _ = allowed.bits
    index.search(queries[0], K, allowed)
    found, times = [], []
    for query in queries:
        started = time.perf_counter()
        rows, _ = index.search(query, K, allowed)
        times.append(time.perf_counter() - started)
        found.append(rows)
    return found, 1e3 * float(np.median(times))


def _filtered(index: VectorIndex, queries: F32, count: int, share: float) -> dict[str, float]:
    allowed = Allowed(np.random.default_rng(1).random(count) < share)
    found, p50 = _timed(index, queries[:50], allowed)
    return {"p50_ms": round(p50, 3), "fewest": min(len(rows) for rows in found), "asked": min(K, allowed.count)}


def _written(index: VectorIndex, vectors: F32) -> dict[str, float]:
    rows = np.random.default_rng(2).integers(0, len(vectors), 200)
    started = time.perf_counter()
    for row in rows:
        index.put(np.array([row]), vectors[[row]])
    put = len(rows) / (time.perf_counter() - started)
    started = time.perf_counter()
    for row in rows:
        index.remove(np.array([row]))
    return {"puts_per_s": round(put), "removes_per_s": round(len(rows) / (time.perf_counter() - started))}


def _rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000), indent=2))
