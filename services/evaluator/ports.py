"""What the domain needs from outside: the served path, the event log, the store of reports.

Every method may raise `DependencyUnavailable` (the neighbour does not answer within its deadline).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from services.evaluator.reports.report import Report, ReportSummary
    from shared.data.nouns import Event, HistoryEvent


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a model that can be pinned; see `fusionrec.common.v1.VersionInfo`."""

    version: str
    labels: Mapping[str, str]
    lineage: Mapping[str, str]
    data_sequence: int


@dataclass(frozen=True, slots=True)
class RankerInfo:
    """The fusion models of one version, and all versions, newest first."""

    embedding_version: str
    variants: tuple[str, ...]
    default_variant: str
    versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class CandidatesInfo:
    """The sources of one version that propose items, and all versions, newest first."""

    embedding_version: str
    sources: tuple[str, ...]
    versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the served path: a history, oldest first, and the time of the question.

    `history` holds at most 1000 events. `exclude` are seen items whose events did not fit in there.
    """

    history: tuple[HistoryEvent, ...]
    as_of: datetime | None = None
    exclude: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """A ranking, best first.

    `degraded`: the components that could not take part in it. `unscored`: items that were put last for want of a score.
    """

    items: tuple[str, ...]
    degraded: tuple[str, ...] = ()
    unscored: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """A source's scores by item, higher is better; items that it cannot score are absent."""

    scores: Mapping[str, float]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogSnapshot:
    """The log up to `sequence`: events in log order, impressions left out, and the ids of the catalogue."""

    events: Sequence[Event]
    item_ids: frozenset[str]
    sequence: int


class Ranker(Protocol):
    """The ranker as it is served."""

    async def info(self, version: str = "") -> RankerInfo:
        """Returns what is loaded.

        Raises:
            NotFound: no such version.
            ModelNotReady: nothing trained.

        """

    async def recommend(self, question: Question, *, version: str, variant: str, k: int) -> Answer:
        """Returns the k best items of the whole catalogue, everything seen left out; "" is the default variant."""

    async def rank(self, question: Question, *, version: str, variant: str, item_ids: Sequence[str], k: int) -> Answer:
        """Returns the k best of `item_ids` (at most 2000)."""


class Candidates(Protocol):
    """The candidates service as it is served."""

    async def info(self, version: str = "") -> CandidatesInfo:
        """Returns what is loaded.

        Raises:
            NotFound: no such version.
            ModelNotReady: nothing trained.

        """

    async def retrieve(self, question: Question, *, version: str, source: str, k: int) -> Answer:
        """Returns the k best items of the whole catalogue by one source, everything seen left out."""

    async def score(self, question: Question, *, version: str, source: str, item_ids: Sequence[str]) -> Scores:
        """Returns what one source says of each of `item_ids` (at most 2000)."""


class EventLog(Protocol):
    """The event log."""

    async def read(self, up_to: int, on_records: Callable[[int], None]) -> LogSnapshot:
        """Returns the log up to sequence `up_to`; tells `on_records` how many records each batch held."""


class Reports(Protocol):
    """Stored reports."""

    async def publish(self, report: Report) -> str:
        """Stores a report, makes it the latest, returns its id."""

    async def page(self, *, after: str, size: int) -> tuple[list[ReportSummary], str]:
        """Returns `size` reports older than `after` (an id; "" begins with the newest), and the next `after`, or ""."""

    async def get(self, report_id: str) -> tuple[ReportSummary, str]:
        """Returns a report ("latest" for the newest) in short and as JSON text.

        Raises:
            NotFound: no such report.
            CorruptData: it fails its checksum.

        """
