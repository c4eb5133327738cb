"""The event log as its readers see it: stretches to follow, a snapshot for a job. `shared/rpc/feed.py` fills them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from shared.data.nouns import Event, Item, ItemDeleted, UserForgotten

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from shared.data.nouns import LogRecord


@dataclass(frozen=True, slots=True)
class LogBatch:
    """A stretch of the log: its records in order, the cursor after them, and whether the end was reached."""

    records: list[LogRecord]
    cursor: str
    caught_up: bool


class EventFeed(Protocol):
    """The log, for ever: what is appended arrives within milliseconds."""

    def follow(self, on_reset: Callable[[], None], cursor: str = "") -> AsyncIterator[LogBatch]:
        """Yields the log from `cursor` on, resuming after interruptions.

        Calls `on_reset` when the log was replaced by another one, which is then read from its start.
        """


@dataclass
class LogSnapshot:
    """Everything in the log up to `sequence`: events in log order, the catalogue by id as it stands then."""

    events: list[Event] = field(default_factory=list)
    items: dict[str, Item] = field(default_factory=dict)
    sequence: int = 0
    cursor: str = ""

    def apply(self, record: LogRecord) -> None:
        """Adds one record."""
        self.sequence = record.sequence
        match record.body:
            case Event() as event:
                self.events.append(event)
            case Item() as item:
                self.items[item.item_id] = item
            case ItemDeleted(item_id):
                self.items.pop(item_id, None)
            case UserForgotten(user_id):
                self.events = [event for event in self.events if event.user_id != user_id]
