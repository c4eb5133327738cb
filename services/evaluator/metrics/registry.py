"""The metrics by name, and the reading of "name@k"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.evaluator.metrics.average_precision import average_precision
from services.evaluator.metrics.f1 import f1
from services.evaluator.metrics.hit_rate import hit_rate
from services.evaluator.metrics.mrr import mrr
from services.evaluator.metrics.ndcg import ndcg
from services.evaluator.metrics.precision import precision
from services.evaluator.metrics.recall import recall
from shared.data import limits
from shared.errors import InvalidField, LimitExceeded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.evaluator.metrics.judged import Judged, Metric

METRICS: Mapping[str, Metric] = {
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "ndcg": ndcg,
    "mrr": mrr,
    "hit_rate": hit_rate,
    "map": average_precision,
}

DEFAULT_METRICS = ("ndcg@10", "precision@10", "recall@20", "f1@10", "mrr@10", "hit_rate@10")
"""What is computed when a request names no metric."""

_FORM = re.compile(r"([a-z0-9_]+)@([1-9][0-9]{0,8})")


@dataclass(frozen=True, slots=True)
class MetricAt:
    """A metric at a cut-off: what "ndcg@10" stands for."""

    name: str
    k: int

    def __str__(self) -> str:
        return f"{self.name}@{self.k}"

    def of(self, judged: Judged) -> float:
        """Returns the metric of one judged ranking with at least one relevant item."""
        return METRICS[self.name](judged, self.k)


def parse_metric(text: str, field: str) -> MetricAt:
    """Returns the metric that `text` names, "name@k".

    Raises:
        InvalidField: not of that form, or an unknown name; the error lists the valid ones.
        LimitExceeded: k over 10000.

    """
    found = _FORM.fullmatch(text)
    if found is None or found[1] not in METRICS:
        limit = f"NAME@K, NAME one of {', '.join(METRICS)}, K 1..{limits.MAX_METRIC_K}"
        raise InvalidField(field, text, limit, "for example ndcg@10")
    k = int(found[2])
    if k > limits.MAX_METRIC_K:
        raise LimitExceeded(field, text, f"k 1..{limits.MAX_METRIC_K}", "use a smaller k")
    return MetricAt(found[1], k)
