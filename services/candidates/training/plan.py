"""Which versions a protocol needs, and what each of them may see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.data.folds import training_folds, visible_events
from shared.data.splits import Protocol, Stage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from shared.data.folds import TrainingList
    from shared.data.nouns import Event
    from shared.data.preferences import PreferenceRules


@dataclass(frozen=True)
class PlannedVersion:
    """One version to train: what to find it by, and the events it sees."""

    labels: dict[str, str]
    events: Sequence[Event]
    split: dict[str, object]
    """What the artifact says of its split."""
    lists: Sequence[TrainingList] = ()
    """Of a fold: questions whose answers it does not see."""
    judged_elsewhere: int = 0
    """Number of events that it sees beside `events`."""

    @property
    def count(self) -> int:
        """Number of events that it sees."""
        return len(self.events) + self.judged_elsewhere

    @property
    def is_serving(self) -> bool:
        """True for the version that becomes CURRENT."""
        return self.labels["stage"] == Stage.SERVING


def stages_of(protocol: Protocol) -> tuple[Stage, ...]:
    """Returns the stages a protocol has, in the order they are trained."""
    if protocol is Protocol.WARM:
        return (Stage.FIT, Stage.TEST, Stage.SERVING)
    return (Stage.FIT, Stage.TEST)


def plan_versions(
    protocol: Protocol, stages: Collection[Stage], events: Sequence[Event], rules: PreferenceRules
) -> Iterator[PlannedVersion]:
    """Yields the versions of a protocol's stages; stage `fit` has one per fold (`shared/data/folds.py`)."""
    counting = [event for event in events if rules.counts(event)]

    def is_positive(event: Event) -> bool:
        return rules.signal(event) > 0

    visible = visible_events(protocol, counting, is_positive)
    if Stage.FIT in stages:
        for fold in training_folds(visible, is_positive):
            labels = {"protocol": protocol.value, "stage": Stage.FIT.value, "fold": fold.name}
            hidden = {"hidden_users": len(fold.hidden_users), "hidden_items": len(fold.hidden_items)}
            yield PlannedVersion(labels, fold.training, {"fold": fold.name, **hidden}, fold.lists)
    if Stage.TEST in stages:
        labels = {"protocol": protocol.value, "stage": Stage.TEST.value}
        yield PlannedVersion(labels, visible, {"hidden_events": len(counting) - len(visible)})
    if Stage.SERVING in stages:
        yield replace(serving_version(0), events=counting)


def serving_version(events: int) -> PlannedVersion:
    """Returns the version that becomes CURRENT, on this number of events that were judged elsewhere."""
    labels = {"protocol": Protocol.WARM.value, "stage": Stage.SERVING.value}
    return PlannedVersion(labels, (), {}, judged_elsewhere=events)
