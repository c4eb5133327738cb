"""What one call carries from stage to stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.ranker.nouns import Degradation
from shared.telemetry import metrics
from shared.telemetry.stages import Stages, StageTime

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from services.ranker.features.profile import TextProfile, UserProfile
    from services.ranker.items.table import ItemTable
    from services.ranker.models.model import RankerModel
    from services.ranker.nouns import Question

SERVICE = "ranker"

FULL_FUSION = "full_fusion"
CF_ONLY = "cf_only"
TEXT_ONLY = "text_only"
POPULAR = "popular"


def merged_times(times: Iterable[StageTime]) -> tuple[StageTime, ...]:
    """Returns one time per stage, in order of their beginning: hydrate and a fall-back's sources run in two parts."""
    merged: dict[str, StageTime] = {}
    for one in times:
        before = merged.get(one.stage, StageTime(one.stage, 0, 0))
        merged[one.stage] = StageTime(one.stage, before.queue_us + one.queue_us, before.compute_us + one.compute_us)
    return tuple(merged.values())


@dataclass
class Call:
    """One question on its way. `table` is the live one, or the pinned model's own.

    `at` is the time of the question; `at_second` the time that features are computed for.
    """

    question: Question
    model: RankerModel | None
    table: ItemTable
    at: datetime
    stages: Stages = field(default_factory=lambda: Stages(SERVICE))
    degraded: dict[str, Degradation] = field(default_factory=dict)
    profile: UserProfile | None = None
    texts: TextProfile | None = None
    at_second: int = 0
    language_model: bool = True

    @property
    def is_pinned(self) -> bool:
        """True when the question names a model version: live state is left out, nothing is recorded."""
        return bool(self.question.model_version)

    @property
    def candidates_version(self) -> str:
        """The candidates version to ask for; empty for the current one."""
        return self.model.candidates_version if self.is_pinned and self.model is not None else ""

    def degrade(self, component: str, reason: str, fallback: str) -> None:
        """Notes that a component could not take part, and what was done instead."""
        if component not in self.degraded:
            metrics.DEGRADED.labels(SERVICE, component.partition(":")[0]).inc()
        self.degraded[component] = Degradation(component, reason, fallback)

    def user(self) -> UserProfile:
        """Returns the profile that hydrate made."""
        if self.profile is None:
            raise RuntimeError("hydrate comes first")
        return self.profile
