"""What a report holds, and its JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from services.evaluator.protocols.measure import Measured
    from shared.data.splits import Protocol

HEADLINE_K = 10
"""The cut-off that reports are compared by: ReportSummary.ndcg_at_10."""


@dataclass(frozen=True)
class Report:
    """One protocol, measured.

    `k`: the cut-off of the headline figures. `users`: users in the means. `versions`: of the measured models, by kind.
    `variants`: which variant of the ranker "fusion" stands for. `protocol_text`: the protocol in words.
    `data`: what was read: the log's sequence and counts.
    """

    protocol: Protocol
    k: int
    users: int
    versions: Mapping[str, str]
    models: Mapping[str, Measured]
    protocol_text: str
    created_at: datetime
    data: Mapping[str, int]
    variants: Mapping[str, str] = field(default_factory=dict)

    def headline(self, model: str) -> float:
        """Returns the model's NDCG at the headline cut-off."""
        return self.models[model].metrics[f"ndcg@{self.k}"]

    def best_first(self) -> list[str]:
        """Returns the models' names, best headline first."""
        return sorted(self.models, key=lambda name: (-self.headline(name), name))

    @property
    def warnings(self) -> list[str]:
        """What makes a figure worse than the model: answers without a component, too short, invalid, unscored."""
        found = [
            f"{name}: {count} of {self.data['queries']} answers were given without {component}"
            for name, measured in self.models.items()
            for component, count in measured.degraded.items()
        ]
        short = [
            f"{name}: {measured.short} of {self.data['queries']} answers were shorter than asked for"
            for name, measured in self.models.items()
            if measured.short
        ]
        unscored = [
            f"{name}: {measured.unscored / self.data['queries']:.0f} items of an answer had no score, on average"
            for name, measured in self.models.items()
            if measured.unscored
        ]
        invalid = [
            f"{name}: {measured.invalid} items were struck out: twice in an answer, seen, or not to be ranked"
            for name, measured in self.models.items()
            if measured.invalid
        ]
        return found + short + invalid + unscored

    def as_json(self) -> dict[str, Any]:
        """Returns the report as JSON values; `by_history` stands in a model where the protocol has history lengths."""
        return {
            "protocol": str(self.protocol),
            "k": self.k,
            "users": self.users,
            "versions": dict(self.versions),
            "models": {name: _model_json(self.models[name]) for name in self.best_first()},
            "variants": dict(self.variants),
            "protocol_text": self.protocol_text,
            "warnings": self.warnings,
            "created_at": self.created_at.isoformat(),
            "data": dict(self.data),
        }


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """A stored report in short. `ndcg_at_10`: by model name."""

    report_id: str
    protocol: str
    created_at: datetime
    versions: Mapping[str, str]
    ndcg_at_10: Mapping[str, float]


def _model_json(measured: Measured) -> dict[str, Any]:
    values: dict[str, Any] = dict(measured.metrics)
    if measured.by_history:
        values["by_history"] = {str(length): dict(own) for length, own in measured.by_history.items()}
    return values
