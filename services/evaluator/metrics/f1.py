"""F1 at k."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.evaluator.metrics.judged import Judged


def f1(judged: Judged, k: int) -> float:
    """Returns 2 P R / (P + R) of precision and recall at k, which is 2 hits(k) / (k + R).

    Computed per query and averaged then, not from the averages.
    Source: van Rijsbergen, "Information Retrieval" (1979), chapter 7.
    """
    return 2 * judged.hits(k) / (k + len(judged.ideal))
