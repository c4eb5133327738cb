"""Questions and answers of this service in domain terms."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from shared.data.nouns import ItemFilter, SeenPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from services.candidates.arrays import F32, F64, Mask
    from services.candidates.merge.evidence import Evidence
    from services.candidates.ports import VectorIndex
    from shared.data.nouns import HistoryEvent, Temperature
    from shared.telemetry.stages import StageTime


class MergeMethod(IntEnum):
    """How ranked lists become one; the numbers of `fusionrec.candidates.v1.MergeMethod`."""

    UNSPECIFIED = 0
    RECIPROCAL_RANK = 1
    QUOTAS = 2


@dataclass(frozen=True)
class CandidateQuery:
    """Asks for candidates; see `GetCandidatesRequest` for the meaning of each part."""

    user_id: str
    history: tuple[HistoryEvent, ...] | None
    k: int
    sources: tuple[str, ...] = ()
    item_filter: ItemFilter = field(default_factory=ItemFilter)
    seen_policy: SeenPolicy = SeenPolicy.HIDE_ALL_SEEN
    score_item_ids: tuple[str, ...] = ()
    model_version: str = ""
    as_of: datetime | None = None
    merge_method: MergeMethod = MergeMethod.UNSPECIFIED


@dataclass(frozen=True)
class SourceReport:
    """What one source did in one call; `compute_us` in microseconds."""

    source: str
    proposed: int
    compute_us: int
    failed: bool = False
    reason: str = ""


@dataclass(frozen=True, eq=False)
class CandidateSet:
    """Candidates side by side: ids, merged scores float64, and which are new, all of the same length."""

    item_ids: list[str]
    scores: F64
    is_new: Mask
    evidence: Evidence
    reports: tuple[SourceReport, ...]
    merge_method: MergeMethod = MergeMethod.UNSPECIFIED
    """How the lists became one; UNSPECIFIED where there were none to merge."""
    reason: str = ""
    """Why there are fewer candidates than asked for."""


@dataclass(frozen=True)
class Served:
    """Which version answered, and where the time went."""

    version: str
    index_version: str
    stages: tuple[StageTime, ...]
    embedding_version: str = ""


@dataclass(frozen=True, eq=False)
class CandidateAnswer:
    """The answer to a `CandidateQuery`: told from others by identity, as it can be given many times."""

    candidates: CandidateSet
    temperature: Temperature
    served: Served
    computed_at: datetime


@dataclass(frozen=True)
class UsersQuery:
    """Asks for users like a user."""

    user_id: str
    history: tuple[HistoryEvent, ...] | None
    k: int
    model_version: str = ""


@dataclass(frozen=True)
class UsersAnswer:
    """The neighbours' ids and similarities, nearest first."""

    user_ids: Sequence[str]
    similarities: Sequence[float]
    served: Served


@dataclass(frozen=True, eq=False)
class SimilarQuery:
    """Asks for neighbours of an item, a vector, float32 (dim,), or a text: exactly one is set."""

    k: int
    space: str
    item_id: str = ""
    vector: F32 | None = None
    text: str = ""
    item_filter: ItemFilter = field(default_factory=ItemFilter)
    model_version: str = ""


@dataclass(frozen=True, eq=False)
class SimilarAnswer:
    """The neighbours' ids and cosines, nearest first."""

    item_ids: list[str]
    similarities: list[float]
    space: str
    served: Served


@dataclass(frozen=True)
class SourceInfo:
    """A loaded source."""

    name: str
    description: str
    items: int
    proposes: bool
    """False for a source that only adds evidence unless a request names it."""
    live: bool
    """It learns from events between two trainings."""


@dataclass(frozen=True)
class IndexInfo:
    """A loaded index."""

    space: str
    type: str
    dim: int
    vectors: int
    added_live: int
    recall_at_100: float
    """Measured against a flat index when it was built."""
    parameters: str
    pending: int
    """Vectors written and removed that the built index does not have, or still has."""
    rebuilds: int

    @classmethod
    def of(cls, space: str, index: VectorIndex, trained_rows: int) -> IndexInfo:
        """Returns what there is to say of an index; rows from `trained_rows` on were added live."""
        return cls(
            space=space,
            type=index.type,
            dim=index.dim,
            vectors=index.count,
            added_live=index.count_from(trained_rows),
            recall_at_100=index.recall_at_100,
            parameters=index.parameters,
            pending=index.pending,
            rebuilds=index.rebuilds,
        )


@dataclass(frozen=True)
class VersionInfo:
    """A version that can be asked for."""

    version: str
    created_at: datetime
    labels: Mapping[str, str]
    lineage: Mapping[str, str]
    data_sequence: int
    is_current: bool


@dataclass(frozen=True)
class ServiceInfo:
    """What is loaded; without a version all but `status_reason` and `versions` is empty."""

    status_reason: str
    versions: tuple[VersionInfo, ...]
    model_version: str = ""
    index_version: str = ""
    embedding_version: str = ""
    sources: tuple[SourceInfo, ...] = ()
    indexes: tuple[IndexInfo, ...] = ()
    catalogue_items: int = 0
    cursor: str = ""
    has_quotas: bool = False
