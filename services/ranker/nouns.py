"""The ranker's own nouns: what is asked, what the neighbours answer, what is returned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from services.ranker.pipeline.select.options import NO_OPTIONS, SelectionOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from numpy.typing import NDArray

    from shared.data.nouns import HistoryEvent, ItemFilter, SeenPolicy, Temperature
    from shared.telemetry.stages import StageTime

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Question:
    """For whom, with which model, at what time. `history` is oldest first; None means the stored one."""

    user_id: str
    history: tuple[HistoryEvent, ...] | None = None
    variant: str = ""
    model_version: str = ""
    min_model_version: str = ""
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecommendRequest:
    """Asks for the best `k` items. None in `diversity` and `new_item_slots` means the server's default."""

    question: Question
    k: int
    item_filter: ItemFilter
    seen_policy: SeenPolicy
    diversity: float | None = None
    explore: bool = False
    new_item_slots: int | None = None
    explain: bool = False
    skip_impressions: bool = False
    include_titles: bool = False
    selection: SelectionOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class RankRequest:
    """Asks for an order of `item_ids`; `k` 0 means all of them."""

    question: Question
    item_ids: tuple[str, ...]
    k: int = 0
    explain: bool = False


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """Asks why `item_ids` have their scores."""

    question: Question
    item_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CandidateQuery:
    """What candidates is asked. `score_item_ids`: score exactly these instead of searching."""

    history: tuple[HistoryEvent, ...]
    k: int
    user_id: str = ""
    item_filter: ItemFilter | None = None
    seen_policy: SeenPolicy | None = None
    sources: tuple[str, ...] = ()
    score_item_ids: tuple[str, ...] = ()
    model_version: str = ""
    as_of: datetime | None = None


@dataclass(frozen=True)
class CandidateTable:
    """n candidates with their evidence, by column.

    `merged`: float32 (n,), reciprocal rank fusion. `is_new`: bool (n,). `scores[source]`: float32 (n,), NaN where the
    source does not know the item. `ranks[source]`: int32 (n,), counted from 1, 0 where it did not propose it.
    `failed[source]`: why a source could not answer.
    """

    item_ids: list[str]
    merged: NDArray[np.float32]
    is_new: NDArray[np.bool_]
    scores: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    ranks: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    index_version: str = ""

    @classmethod
    def plain(cls, item_ids: list[str], scores: NDArray[np.float32]) -> CandidateTable:
        """Returns candidates without evidence, in the given order of `scores`."""
        return cls(item_ids, scores.astype(np.float32), np.zeros(len(item_ids), dtype=np.bool_))

    def take(self, places: NDArray[np.intp]) -> CandidateTable:
        """Returns the candidates at these places, in that order."""
        return CandidateTable(
            item_ids=[self.item_ids[place] for place in places],
            merged=self.merged[places],
            is_new=self.is_new[places],
            scores={name: column[places] for name, column in self.scores.items()},
            ranks={name: column[places] for name, column in self.ranks.items()},
            failed=self.failed,
            version=self.version,
            index_version=self.index_version,
        )

    def extended(self, other: CandidateTable) -> CandidateTable:
        """Returns these candidates followed by those of `other`."""
        count, more = len(self.item_ids), len(other.item_ids)
        names = {*self.scores, *other.scores}
        nan = np.float32(np.nan)
        return CandidateTable(
            item_ids=self.item_ids + other.item_ids,
            merged=np.concatenate([self.merged, other.merged]),
            is_new=np.concatenate([self.is_new, other.is_new]),
            scores={name: _joined(self.scores, other.scores, name, count, more, nan) for name in names},
            ranks={name: _joined(self.ranks, other.ranks, name, count, more, np.int32(0)) for name in names},
            failed=self.failed,
            version=self.version,
            index_version=self.index_version,
        )


def _joined(
    left: Mapping[str, NDArray[T]], right: Mapping[str, NDArray[T]], name: str, count: int, more: int, empty: T
) -> NDArray[T]:
    first = left[name] if name in left else np.full(count, empty)
    second = right[name] if name in right else np.full(more, empty)
    return np.concatenate([first, second])


@dataclass(frozen=True, slots=True)
class Degradation:
    """What could not take part, why, and what was done instead."""

    component: str
    reason: str
    fallback: str


@dataclass(frozen=True, slots=True)
class FeatureContribution:
    """What one feature adds to a score; `value` is NaN when it was missing."""

    feature: str
    group: str
    value: float
    contribution: float


@dataclass(frozen=True, slots=True)
class HistoryReason:
    """A history item that speaks for a result; `kind` is "behaviour" or "text", `weight` a share, 0 to 1."""

    item_id: str
    title: str
    weight: float
    kind: str


@dataclass(frozen=True, slots=True)
class SourceShare:
    """What a source gave to a result; `rank` 0 when it was not in its list."""

    source: str
    rank: int
    score: float
    share: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why: bias + the sum of `features` is the score."""

    bias: float
    features: tuple[FeatureContribution, ...]
    groups: Mapping[str, float]
    history: tuple[HistoryReason, ...]
    sentence: str
    sentence_by: str = "template"


@dataclass(frozen=True, slots=True)
class Result:
    """One recommended item."""

    item_id: str
    score: float
    position: int
    sources: tuple[SourceShare, ...] = ()
    cf_contribution: float = 0.0
    text_contribution: float = 0.0
    attribution_token: str = ""
    is_new: bool = False
    explanation: Explanation | None = None
    title: str = ""
    propensity: float = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Results and what is said of them. `models`: version by kind. `variant`: the fusion that scored, "" for none."""

    results: tuple[Result, ...]
    temperature: Temperature
    degraded: tuple[Degradation, ...]
    models: Mapping[str, str]
    index_version: str
    stages: tuple[StageTime, ...]
    recommendation_id: str = ""
    candidates_scored: int = 0
    empty_reason: str = ""
    unmet: tuple[str, ...] = ()
    computed_at: datetime | None = None
    unknown_item_ids: tuple[str, ...] = ()
    variant: str = ""


@dataclass(frozen=True, slots=True)
class GatePoint:
    """At this value of an axis, the share of each group of features in what moves the score; shares add up to 1.

    `axis`: "history_events", the user's events, or "item_positives", the item's positive events.
    """

    axis: str
    at: float
    shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ShownNote:
    """What a version has learned from impressions.

    `lists` that were shown, of users who are not measured on, and rows `taken` of them: what the curve was read off.
    `learned`: training lists made, one per row that was taken. `explored`: the curve was read off lists with chance in
    their order alone. `examination`: (last position of a step, 0 for all beyond; how likely it is looked at, the
    highest 1), by rising position.
    """

    lists: int = 0
    taken: int = 0
    learned: int = 0
    explored: bool = False
    examination: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class VersionNote:
    """A version that can be asked for by name."""

    version: str
    created_at: datetime
    labels: Mapping[str, str]
    lineage: Mapping[str, str]
    data_sequence: int
    is_current: bool
