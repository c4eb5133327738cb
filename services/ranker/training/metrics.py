"""NDCG@10 of lists: what fusion models are compared by while training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ranker.fusion.base import FusionFunction
    from services.ranker.items.arrays import F32
    from services.ranker.items.table import ItemTable
    from services.ranker.training.learned import LearnedList

DEPTH = 10


def mean_ndcg(fusion: FusionFunction, lists: Sequence[LearnedList], table: ItemTable | None = None) -> float:
    """Returns the mean NDCG@10 of the lists with binary gains, within the lists' candidates; NaN without lists.

    Each list counts by its weight: for lists by taken row this is the self-normalised inverse propensity estimate.
    """
    if not lists:
        return float("nan")
    found = [ndcg(fusion.predict(one.input(table)), one.labels) for one in lists]
    return float(np.average(found, weights=[one.weight for one in lists]))


def ndcg(scores: F32, labels: F32) -> float:
    """Returns the NDCG@10 of one list with binary gains; both float32 (n,), of at least one liked row."""
    discounts = 1 / np.log2(np.arange(2, DEPTH + 2))
    gains = labels[np.argsort(-scores, kind="stable")[:DEPTH]]
    best = min(int(labels.sum()), DEPTH)
    return float((gains * discounts[: len(gains)]).sum() / discounts[:best].sum())
