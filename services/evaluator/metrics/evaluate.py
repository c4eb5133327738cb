"""Means of metrics over the queries of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.evaluator.metrics.coverage import coverage, distinct_items
from services.evaluator.metrics.judged import judge
from shared.errors import InvalidField

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.evaluator.metrics.registry import MetricAt


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics of one run.

    `means`: by "name@k", over the `queries` with at least one relevant item; a judged query without a ranking counts
    as 0. `per_query`: of every ranking, in its order; empty for one without a relevant item.
    """

    means: dict[str, float]
    per_query: dict[str, dict[str, float]]
    queries: int
    without_relevant: int
    without_ranking: int


def evaluate(
    rankings: Mapping[str, Sequence[str]],
    gains: Mapping[str, Mapping[str, float]],
    metrics: Sequence[MetricAt],
    *,
    catalogue_size: int = 0,
) -> Evaluation:
    """Returns the metrics of `rankings` (query → items, best first, none twice) by `gains` (query → item → gain).

    With a `catalogue_size` above 0, coverage is added at every k that occurs in `metrics`, over all rankings.
    Sums are exact (`math.fsum`), so that the order of the queries does not matter.

    Raises:
        InvalidField: the rankings hold more different items than the catalogue.

    """
    relevant = {query: own for query, own in gains.items() if any(gain > 0 for gain in own.values())}
    depth = max((metric.k for metric in metrics), default=0)
    per_query: dict[str, dict[str, float]] = {}
    for query, ranking in rankings.items():
        own = relevant.get(query)
        judged = judge(ranking, own, depth) if own is not None else None
        per_query[query] = {} if judged is None else {str(metric): metric.of(judged) for metric in metrics}
    means = _means(per_query.values(), metrics, len(relevant))
    if catalogue_size:
        means |= _coverages(rankings.values(), metrics, catalogue_size)
    return Evaluation(
        means=means,
        per_query=per_query,
        queries=len(relevant),
        without_relevant=sum(query not in relevant for query in rankings),
        without_ranking=sum(query not in rankings for query in relevant),
    )


def _means(values: Iterable[Mapping[str, float]], metrics: Sequence[MetricAt], queries: int) -> dict[str, float]:
    counted = [own for own in values if own]
    return {str(one): math.fsum(own[str(one)] for own in counted) / queries if queries else 0.0 for one in metrics}


def _coverages(rankings: Iterable[Sequence[str]], metrics: Sequence[MetricAt], catalogue_size: int) -> dict[str, float]:
    runs = list(rankings)
    cutoffs = sorted({metric.k for metric in metrics})
    distinct = distinct_items(runs, max(cutoffs, default=0))
    if distinct > catalogue_size:
        limit = f"at least {distinct}, the different items ranked"
        raise InvalidField("catalogue_size", catalogue_size, limit, "send the size of the whole catalogue, or 0")
    return {f"coverage@{k}": coverage(runs, k, catalogue_size) for k in cutoffs}
