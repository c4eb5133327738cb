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


def with_places_kept(rows: I64, scores: F64, k: int, kept: Sequence[tuple[Mask, float]]) -> tuple[I64, F64]:
    """Returns the first `k` of merged rows, the worst of them exchanged until each kind has the places kept for it.

    Only one or two sources can speak for an item without events; added up, the others would always outvote them.

    Args:
        rows: int64 (n,), best first.
        scores: float64 (n,), falling.
        k: rows to return, at most.
        kept: the kinds, the narrowest first: which rows are of it, bool (n,), and the share of the `k` places that is
            kept for them, as far as there are some in `rows`.

    """
    chosen = np.arange(len(rows)) < k
    for of_kind, share in kept:
        missing = int(np.ceil(share * k)) - int(np.count_nonzero(of_kind & chosen))
        extra = np.flatnonzero(of_kind & ~chosen)[: max(missing, 0)]
        if len(extra):
            others = np.flatnonzero(chosen & ~of_kind)
            chosen[others[len(others) - len(extra) :]] = False
            chosen[extra] = True
    return rows[chosen], scores[chosen]
