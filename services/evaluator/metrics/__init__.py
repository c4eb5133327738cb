"""Ranking metrics at a cut-off k: one per file, by name in the registry, means over queries in `evaluate`."""

from services.evaluator.metrics.evaluate import Evaluation, evaluate
from services.evaluator.metrics.registry import METRICS, MetricAt, parse_metric

__all__ = ["METRICS", "Evaluation", "MetricAt", "evaluate", "parse_metric"]
