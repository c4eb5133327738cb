"""What the ranker's domain needs of its neighbours. Units: seconds, UTC times, float32 arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from services.ranker.nouns import CandidateQuery, CandidateTable, VersionNote
    from shared.data.nouns import Event, HistoryEvent


@dataclass(frozen=True)
class Embedded:
    """Vectors of n texts: float32 (n, dim) of length 1, zero rows where `ok` (bool, (n,)) is False."""

    vectors: NDArray[np.float32]
    ok: NDArray[np.bool_]
    version: str


@dataclass(frozen=True)
class CandidatesInfo:
    """What the candidates service has loaded: its embedding version and the versions that can be asked for."""

    model_version: str
    embedding_version: str
    versions: tuple[VersionNote, ...]


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """What a user did, oldest first. `cursor` stands for the state of the log that it was read in; empty: not known."""

    events: tuple[HistoryEvent, ...]
    cursor: str = ""


class HistoryReader(Protocol):
    """Reads what users did."""

    async def history(
        self, user_id: str, limit: int, as_of: datetime | None, timeout_s: float, known: StoredHistory | None = None
    ) -> StoredHistory:
        """Returns the newest `limit` events of a user before `as_of`, impressions left out.

        `known` is what an earlier call with the same user, limit and `as_of` returned. Where nothing has changed since,
        its very `events` may be returned again.

        Raises:
            DependencyUnavailable: no answer within `timeout_s`.

        """


class TextEncoder(Protocol):
    """Turns texts into vectors."""

    async def embed(self, texts: Sequence[str], timeout_s: float, *, bulk: bool = False, version: str = "") -> Embedded:
        """Returns one vector per text (1 to 1000 texts). `bulk` gives way to calls that somebody waits for.

        `version` says which version of the encoder shall make them; empty means the current one.

        Raises:
            DependencyUnavailable: no answer within `timeout_s`.
            ModelNotReady: no encoder is loaded.
            ModelMismatch: the embedding service does not have that version.

        """


class EncoderNews(Protocol):
    """Says which encoder is current."""

    async def current_version(self, timeout_s: float) -> str:
        """Returns the encoder's current version; empty when there is none.

        Raises:
            DependencyUnavailable: no answer within `timeout_s`.

        """


class CandidateFinder(Protocol):
    """Finds and scores candidates."""

    async def find(self, query: CandidateQuery, timeout_s: float) -> CandidateTable:
        """Returns candidates, best first by merged score; with `score_item_ids` in that order.

        Raises:
            DependencyUnavailable: no answer within `timeout_s`.
            ModelNotReady: nothing has been trained.
            NotFound: no such `model_version`.

        """

    async def find_many(self, queries: Sequence[CandidateQuery], timeout_s: float) -> list[CandidateTable]:
        """Returns the answers to 1 to 256 queries, in order; raises as `find`."""

    async def info(self, timeout_s: float) -> CandidatesInfo:
        """Returns what is loaded; raises `DependencyUnavailable`."""


class SentenceModel(Protocol):
    """A small language model that writes a sentence."""

    name: str
    """What it is called in replies."""

    def complete(self, messages: list[dict[str, str]], until: float) -> str:
        """Returns its answer to a conversation (role, content); empty when `until` (monotonic clock) comes first."""


class VariantAssigner(Protocol):
    """Knows which variant of an experiment a user is in."""

    async def assign(self, experiment: str, user_id: str, timeout_s: float) -> str:
        """Returns the variant, the same every time; empty for who does not take part.

        Raises:
            DependencyUnavailable: no answer within `timeout_s`.
            NotFound: there is no such experiment.

        """


class ImpressionReader(Protocol):
    """Reads impressions that were written."""

    async def read(
        self,
        recommendations: Mapping[str, str],
        *,
        max_position: int,
        on_record: Callable[[int], None],
    ) -> list[Event]:
        """Returns the impressions of these recommendations to these users: `recommendations[id]` is the user.

        At positions 1 to `max_position`; of several at one position, the first that was written. The log is read to
        its end; `on_record` is told the sequence that was reached.

        Raises:
            DependencyUnavailable: ingestion does not answer.

        """


class ImpressionWriter(Protocol):
    """Writes impressions."""

    async def write(self, events: Sequence[Event], timeout_s: float) -> int:
        """Writes 1 to 1000 impressions; returns how many were stored.

        Raises:
            DependencyUnavailable: no answer within `timeout_s`.

        """
