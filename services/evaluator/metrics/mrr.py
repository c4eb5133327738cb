"""Mean reciprocal rank at k."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.evaluator.metrics.judged import Judged


def mrr(judged: Judged, k: int) -> float:
    """Returns 1 / (place of the first relevant item), places counted from 1; 0 when the first k hold none.

    The mean over queries is what gives the metric its name.
    Source: Voorhees, "The TREC-8 Question Answering Track Report" (1999).
    """
    return 1.0 / judged.places[0] if judged.hits(k) else 0.0
