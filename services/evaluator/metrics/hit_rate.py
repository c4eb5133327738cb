"""Hit rate at k."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.evaluator.metrics.judged import Judged


def hit_rate(judged: Judged, k: int) -> float:
    """Returns 1 when the first k places hold a relevant item, else 0.

    Source: Deshpande, Karypis, "Item-based top-N recommendation algorithms", ACM TOIS 22(1) (2004).
    """
    return 1.0 if judged.hits(k) else 0.0
