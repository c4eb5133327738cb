"""NDCG@10 of lists: what fusion models are compared by while training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ranker.fusion.base import FusionFunction
    from services.ranker.training.lists import LearnedList

DEPTH = 10


def mean_ndcg(fusion: FusionFunction, lists: Sequence[LearnedList]) -> float:
    """Returns the mean NDCG@10 of the lists with binary gains, within the lists' candidates; NaN without lists."""
    if not lists:
        return float("nan")
    return float(np.mean([_ndcg(fusion, one) for one in lists]))


def _ndcg(fusion: FusionFunction, one: LearnedList) -> float:
    discounts = 1 / np.log2(np.arange(2, DEPTH + 2))
    order = np.argsort(-fusion.predict(one.features), kind="stable")[:DEPTH]
    gains = one.labels[order]
    best = min(int(one.labels.sum()), DEPTH)
    return float((gains * discounts[: len(gains)]).sum() / discounts[:best].sum())
