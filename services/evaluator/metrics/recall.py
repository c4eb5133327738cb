"""Recall at k."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.evaluator.metrics.judged import Judged


def recall(judged: Judged, k: int) -> float:
    """Returns hits(k) / R: the share of the R relevant items that stand in the first k places.

    It cannot reach 1 where R > k; it is not rescaled.
    Source: Manning, Raghavan, Schütze, "Introduction to Information Retrieval" (2008), section 8.4.
    """
    return judged.hits(k) / len(judged.ideal)
