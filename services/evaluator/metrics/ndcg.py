"""Normalised discounted cumulative gain at k."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.evaluator.metrics.judged import Judged


def ndcg(judged: Judged, k: int) -> float:
    """Returns DCG(k) / IDCG(k) with DCG(k) = sum over places i = 1..k of gain_i / log2(i + 1).

    IDCG(k) is the DCG of the min(k, R) largest gains in descending order. Gains enter as they are (linear);
    who wants 2^gain - 1 sends that as the gain.
    Source: Järvelin, Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4) (2002).
    """
    hits = judged.hits(k)
    found = _dcg(zip(judged.places[:hits], judged.gains[:hits], strict=True))
    return found / _dcg(enumerate(judged.ideal[:k], 1))


def _dcg(gains_by_place: Iterable[tuple[int, float]]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in gains_by_place)
