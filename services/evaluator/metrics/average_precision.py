"""Mean average precision at k."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.evaluator.metrics.judged import Judged


def average_precision(judged: Judged, k: int) -> float:
    """Returns (1 / min(k, R)) * sum over places i = 1..k that hold a relevant item of precision(i).

    Divided by min(k, R), not by R, so that a perfect ranking has 1 at every k. The mean over queries is "map".
    Source: Manning, Raghavan, Schütze, "Introduction to Information Retrieval" (2008), section 8.4, cut at k.
    """
    precisions = (hits / place for hits, place in enumerate(judged.places[: judged.hits(k)], 1))
    return sum(precisions) / min(k, len(judged.ideal))
