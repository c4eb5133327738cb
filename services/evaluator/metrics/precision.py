"""Precision at k."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.evaluator.metrics.judged import Judged


def precision(judged: Judged, k: int) -> float:
    """Returns hits(k) / k: the share of the first k places that hold a relevant item.

    A ranking shorter than k is divided by k all the same: a place left empty is a place without a hit.
    Source: Manning, Raghavan, Schütze, "Introduction to Information Retrieval" (2008), section 8.4.
    """
    return judged.hits(k) / k
