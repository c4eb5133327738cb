"""Builds an index, measures it, and opens one that was saved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from services.candidates.adapters.faiss_exact import ExactMain, search_matrix
from services.candidates.adapters.faiss_hnsw import HnswMain
from services.candidates.adapters.faiss_ivf import IvfMain, IvfPqMain
from services.candidates.index.choice import choose_type
from services.candidates.index.live_index import Built, MainIndex
from services.candidates.index.parameters import FLAT, HNSW, IVF, IVF_PQ, IndexParameters, IndexReport

if TYPE_CHECKING:
    from pathlib import Path

    from services.candidates.arrays import F32

log = structlog.get_logger(__name__)

_MAINS: dict[str, Any] = {HNSW: HnswMain, IVF: IvfMain, IVF_PQ: IvfPqMain}
_AT = 100


def open_main(kind: str, folder: Path, vectors: F32, parameters: IndexParameters) -> MainIndex:
    """Maps a part that was saved.

    Raises:
        ValueError, OSError: the files are damaged or missing.

    """
    if kind == FLAT:
        return ExactMain(vectors)
    main: MainIndex = _MAINS[kind].open(folder, vectors, parameters)
    return main


def build_main(vectors: F32, parameters: IndexParameters, previous: MainIndex | None) -> Built:
    """Builds and measures a part over vectors, float32 (rows, dim), with clusters of `previous` where they suit."""
    started = time.perf_counter()
    count = int(np.count_nonzero(~np.isnan(vectors[:, 0])))
    kind = choose_type(count, vectors.shape[1], parameters)
    main: MainIndex
    if kind == FLAT or not count:
        main = ExactMain(vectors)
    elif isinstance(previous, IvfMain) and type(previous) is _MAINS[kind]:
        main = _MAINS[kind].build(vectors, parameters, previous)
    else:
        main = _MAINS[kind].build(vectors, parameters)
    seconds = time.perf_counter() - started
    effort, recall = _tuned(main, vectors, parameters)
    report = IndexReport(main.type, count, int(vectors.shape[1]), recall, round(seconds, 3), 0, dict(main.settings))
    return Built(main, effort, report)


def _tuned(main: MainIndex, vectors: F32, parameters: IndexParameters) -> tuple[int, float]:
    """Returns the smallest effort, by halves, at which the target is reached, and the recall at it."""
    if main.type == FLAT:
        return 1, 1.0
    queries = _queries(vectors, parameters)
    wanted = min(_AT, int(np.count_nonzero(~np.isnan(vectors[:, 0]))))
    true, _ = search_matrix(vectors, queries, wanted, None)
    effort = main.first_effort
    while True:
        found, _ = main.search(queries, wanted, effort, None)
        hits = [len(np.intersect1d(one, other)) / wanted for one, other in zip(found, true, strict=True)]
        recall = float(np.mean(hits))
        if recall >= parameters.target_recall:
            return effort, recall
        if effort >= main.max_effort:
            log.warning("an index misses its recall", type=main.type, recall=recall, target=parameters.target_recall)
            return effort, recall
        effort = min(effort + max(effort // 2, 1), main.max_effort)


def _queries(vectors: F32, parameters: IndexParameters) -> F32:
    """Returns queries as users make them: means of five vectors, and of one with noise, half each."""
    random = np.random.default_rng(parameters.seed)
    rows = np.flatnonzero(~np.isnan(vectors[:, 0]))
    drawn = vectors[random.choice(rows, (parameters.sample, 5))]
    half = parameters.sample // 2
    mixed = drawn[:half].mean(axis=1)
    one = drawn[half:, 0]
    noise = random.standard_normal(one.shape) * 0.3 * np.linalg.norm(one, axis=1, keepdims=True) / one.shape[1] ** 0.5
    return np.ascontiguousarray(np.vstack([mixed, one + noise]), np.float32)
