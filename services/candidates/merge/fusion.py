"""Reciprocal rank fusion (Cormack, Clarke, Büttcher, 2009)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.candidates.arrays import F64, I64


def fuse(lists: Sequence[I64], rrf_k: int) -> tuple[I64, F64]:
    """Merges ranked lists of rows by the sum over the lists of 1 / (rrf_k + rank), ranks counted from 1.

    Returns:
        The rows of the union and their merged scores, the best first, the lower row first where equal.

    """
    if not lists:
        return np.zeros(0, np.int64), np.zeros(0, np.float64)
    rows = np.concatenate(lists)
    shares = np.concatenate([1.0 / (rrf_k + 1 + np.arange(len(one))) for one in lists])
    union, place = np.unique(rows, return_inverse=True)
    scores: F64 = np.bincount(place, shares, minlength=len(union)).astype(np.float64)
    order = np.lexsort((union, -scores))
    return union[order], scores[order]
