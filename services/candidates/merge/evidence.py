"""What every source says of every candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.sources.sums import DENSE_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.candidates.arrays import F32, I64


@dataclass(frozen=True, eq=False)
class Evidence:
    """One column per source: ranks int64 and scores float32, both (candidates, sources).

    Rank 0: not in that source's list. Score NaN: that source cannot score the item.
    """

    names: tuple[str, ...]
    ranks: I64
    scores: F32


def ranks_in_lists(lists: Sequence[I64], rows: I64, table_size: int) -> I64:
    """Returns the place of each row in each list, counted from 1, 0 where absent: (rows, lists)."""
    ranks = np.zeros((len(rows), len(lists)), np.int64)
    for column, own in enumerate(lists):
        if not len(own):
            continue
        ranks[:, column] = _places(own, rows, table_size)
    return ranks


def _places(own: I64, rows: I64, table_size: int) -> I64:
    """Returns the place of each row in one list that is not empty, counted from 1, 0 where absent: (rows,)."""
    if table_size <= DENSE_ROWS:
        place = np.zeros(table_size, np.int64)
        place[own] = np.arange(1, len(own) + 1)
        return place[rows]
    # Of a large table the memory alone would take longer than the search.
    order = np.argsort(own)
    found = order[np.minimum(np.searchsorted(own, rows, sorter=order), len(own) - 1)]
    return np.where(own[found] == rows, found + 1, 0)


def ranks_by_score(scores: F32) -> I64:
    """Returns the place of each row by each column's scores, counted from 1, 0 where NaN: the shape of `scores`."""
    ranks = np.zeros(scores.shape, np.int64)
    for column in range(scores.shape[1]):
        own = scores[:, column]
        order = np.argsort(-own, kind="stable")
        order = order[~np.isnan(own[order])]
        ranks[order, column] = np.arange(1, len(order) + 1)
    return ranks
