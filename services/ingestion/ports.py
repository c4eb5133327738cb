"""What the ingestion service needs of an engine that keeps the log, the catalogue and the history.

One engine implements all of it (`Store`), because a reply must name one log position that all three agree on.
Positions are log sequence numbers: 0 is before the first record, each record has a higher one than those before it.

Every method may raise `DependencyUnavailable` (the engine cannot read or write now), `CorruptData` (what it has
stored is damaged) and, while the server stops, `ShuttingDown`. Writes raise `Overloaded` when too much waits.
When a write returns, it is durable; a read that begins after that sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from shared.data.nouns import Event, EventType, Item, LogRecord


class StoreUnusable(Exception):
    """The store cannot be opened. The message is for the operator: it names the place and what to do."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch of events.

    `stored[i]` is False when an event with the id of event i was there already, also from earlier in the batch.
    `unknown_items` counts the stored events whose item is not in the catalogue. `sequence` is the end of the log.
    """

    stored: tuple[bool, ...]
    unknown_items: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Upserted:
    """What became of a batch of items: `stored[i]` is False when an identical item was there already."""

    stored: tuple[bool, ...]
    sequence: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """Whether there was such an item; the end of the log."""

    existed: bool
    sequence: int


@dataclass(frozen=True, slots=True)
class Erasure:
    """The receipt of the erasure of a user; the sequence of its record."""

    receipt_id: str
    events_erased: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Records of the log in order; `position` to go on from; `at_end` when there was nothing after it."""

    records: list[LogRecord]
    position: int
    at_end: bool


@dataclass(frozen=True, slots=True)
class UserHistory:
    """Events of one user, newest first; how many there are in all; the log position this was read at.

    `unchanged`: they are those that the caller knows, and left out.
    """

    events: list[Event]
    total: int
    sequence: int
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Counts of what is stored. `unknown_items`: distinct item ids in events that are not in the catalogue."""

    events_by_type: Mapping[EventType, int]
    users: int
    items: int
    unknown_items: int
    oldest: datetime | None
    newest: datetime | None
    sequence: int


class EventLog(Protocol):
    """The log: appended to, replayed, followed."""

    @property
    def log_id(self) -> str:
        """Identity of this log, 16 hexadecimal digits; another log never has the same."""

    @property
    def end(self) -> int:
        """Sequence of the last durable record; 0 for an empty log."""

    async def append_events(self, events: Sequence[Event]) -> Appended:
        """Appends the events whose `event_id` is new, all or none of them."""

    async def forget_user(self, user_id: str) -> Erasure:
        """Erases a user's events and appends a record that says so, also for an unknown user."""

    async def read(self, after: int, limit: int, exclude: AbstractSet[EventType]) -> Stretch:
        """Reads at most `limit` records after position `after`, fewer when they are large.

        Leaves out events of the excluded types; `position` is beyond them too.
        """

    async def wait_beyond(self, position: int) -> None:
        """Returns as soon as `end` > `position`, without polling."""


class Catalogue(Protocol):
    """The items as they stand now; every change is a record of the log."""

    async def upsert_items(self, items: Sequence[Item]) -> Upserted:
        """Writes items as a whole. `created_at` is the first writing's, `updated_at` is now, whatever is given."""

    async def get_items(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """Returns the items found, by id.

        Raises:
            LimitExceeded: together they are larger than a message may be.

        """

    async def list_items(self, after: str, limit: int) -> tuple[list[Item], bool]:
        """Returns items with ids above `after`, in byte order, and whether more follow.

        At most `limit`, fewer when they are large.
        """

    async def delete_item(self, item_id: str) -> Deleted:
        """Removes an item; its events stay."""


class History(Protocol):
    """What one user did, and counts over all users."""

    async def user_history(
        self,
        user_id: str,
        *,
        limit: int,
        types: AbstractSet[EventType],
        before: datetime | None,
        known: int | None = None,
    ) -> UserHistory:
        """Returns the newest events of these types with timestamp < `before`, by (timestamp, item id) descending.

        At most `limit`, fewer when their texts are very large. `known`: the sequence of an earlier answer to the same
        question; where the engine can tell that it still holds, it may say so instead.
        """

    async def stats(self) -> StoreStats:
        """Returns counts; its time grows with the numbers of users and items, not with that of events."""


class Store(EventLog, Catalogue, History, Protocol):
    """One engine."""

    @property
    def engine(self) -> str:
        """Its name: "sqlite", "jetstream"."""

    async def open(self) -> None:
        """Opens or creates the store.

        Raises:
            StoreUnusable: it is not usable; may be tried again.

        """

    async def close(self) -> None:
        """Finishes accepted writes and closes."""


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Events in log order, a tuple per field. `type`: number of an `EventType`; `timestamp_us`: since 1970, UTC."""

    sequence: tuple[int, ...]
    user_id: tuple[str, ...]
    item_id: tuple[str, ...]
    type: tuple[int, ...]
    value: tuple[float | None, ...]
    timestamp_us: tuple[int, ...]
    text: tuple[str, ...]
    session_id: tuple[str, ...]
    attribution_token: tuple[str | None, ...]
    position: tuple[int | None, ...]
    propensity: tuple[float | None, ...]

    def __len__(self) -> int:
        return len(self.sequence)


class LogExport(Protocol):
    """The log and the catalogue as a batch job reads them: beside a running server, without a lock on the store.

    Blocking; used from one thread. Erasures and deletions take effect while it reads.
    """

    @property
    def log_id(self) -> str:
        """Identity of the log."""

    def end(self) -> int:
        """Returns the sequence of the last durable record; 0 for an empty log."""

    def read_events(self, after: int, until: int, limit: int) -> EventColumns:
        """Returns at most `limit` events with after < sequence <= until, fewer when their texts are large.

        None only when there are no more.
        """

    def forgot_users(self, after: int, until: int) -> bool:
        """Returns whether a user was forgotten by a record with after < sequence <= until."""

    def list_items(self, after: str, limit: int) -> tuple[list[Item], bool]:
        """Returns a page of the catalogue; see `Catalogue.list_items`."""

    def close(self) -> None:
        """Closes the store."""
