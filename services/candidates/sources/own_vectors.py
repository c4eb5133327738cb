"""Vectors that a source searches for itself, beside the spaces (`SourceKind.vectors`), and how an index gets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.sources.registry import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.candidates.arrays import F32, I64
    from services.candidates.ports import IndexFactory, VectorIndex


def own_vectors(models: Mapping[str, Any]) -> dict[str, F32]:
    """Returns the vectors of the kinds that have their own, float32 (rows, dim), by kind; of models by kind."""
    return {
        kind.name: kind.vectors(models[kind.name]) for kind in KINDS if kind.vectors is not None and kind.name in models
    }


def present_rows(vectors: F32) -> I64:
    """Returns the rows with a vector: those of neither NaN nor zeros."""
    return np.flatnonzero(vectors.any(axis=1) & ~np.isnan(vectors[:, 0]))


def filled(make_index: IndexFactory, vectors: F32) -> VectorIndex:
    """Returns an index with the vectors that are there."""
    index = make_index(vectors.shape[1])
    rows = present_rows(vectors)
    index.put(rows, vectors[rows])
    return index


def to_build(vectors: F32) -> F32:
    """Returns the vectors as `IndexBuilder.build` takes them: a copy with rows of NaN where there is none."""
    return np.where(vectors.any(axis=1, keepdims=True), vectors, np.float32(np.nan))
