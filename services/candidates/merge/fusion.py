"""Reciprocal rank fusion (Cormack, Clarke, Büttcher, 2009)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.candidates.sources.sums import DENSE_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.candidates.arrays import F64, I64, Mask


def fuse(lists: Sequence[I64], rrf_k: int, weights: Sequence[float] | None = None) -> tuple[I64, F64]:
    """Merges ranked lists of rows by the sum over the lists of weight / (rrf_k + rank), ranks counted from 1.

    Args:
        lists: rows, the best first.
        rrf_k: the constant.
        weights: one per list; all 1 without them.

    Returns:
        The rows of the union and their merged scores, the best first, the lower row first where equal.

    """
    if not lists:
        return np.zeros(0, np.int64), np.zeros(0, np.float64)
    rows = np.concatenate(lists)
    own = [1.0] * len(lists) if weights is None else weights
    by_rank = 1 / (rrf_k + 1 + np.arange(max(map(len, lists))))
    shares = np.concatenate([weight * by_rank[: len(one)] for one, weight in zip(lists, own, strict=True)])
    union, scores = _summed(rows, shares)
    # The rows ascend: of equal scores the lower row stays first.
    order = np.argsort(-scores, kind="stable")
    return union[order], scores[order]


def _summed(rows: I64, shares: F64) -> tuple[I64, F64]:
    """Returns the rows that come, ascending, and the sum of each one's shares."""
    size = int(rows.max(initial=-1)) + 1
    if size > DENSE_ROWS:
        union, place = np.unique(rows, return_inverse=True)
        return union, np.bincount(place, shares, minlength=len(union)).astype(np.float64)
    comes = np.zeros(size, bool)
    comes[rows] = True
    union = np.flatnonzero(comes)
    return union, np.bincount(rows, shares, minlength=size)[union].astype(np.float64)


def with_new(rows: I64, scores: F64, is_new: Mask, k: int, share: float) -> tuple[I64, F64]:
    """Returns the first `k` of merged rows, the worst of them exchanged for new items until those have their share.

    Only one or two sources can speak for an item without events; added up, the others would always outvote them.

    Args:
        rows: int64 (n,), best first.
        scores: float64 (n,), falling.
        is_new: bool (n,), the items without events.
        k: rows to return, at most.
        share: share of the `k` places that is kept for new items, as far as there are some in `rows`.

    """
    wanted = int(np.ceil(share * k)) - int(np.count_nonzero(is_new[:k]))
    extra = k + np.flatnonzero(is_new[k:])[: max(wanted, 0)]
    if not len(extra):
        return rows[:k], scores[:k]
    old = np.flatnonzero(~is_new[:k])
    places = np.concatenate([np.setdiff1d(np.arange(k), old[len(old) - len(extra) :]), extra])
    return rows[places], scores[places]
