"""Histories of the users seen lately, kept fresh by the log."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.candidates.ports import UserHistory
from shared.data.nouns import HistoryEvent

if TYPE_CHECKING:
    from services.candidates.ports import UserHistories
    from shared.data.nouns import Event

RECENT = 4_096
"""Log records kept to bring a history up to date that was read before them and arrives after them."""


@dataclass(frozen=True, slots=True)
class _Record:
    sequence: int
    user_id: str
    event: HistoryEvent | None
    """None: the user was forgotten."""


class LiveHistories:
    """At most `max_users` histories of at most `max_events` events, the least recently asked dropped first.

    A history is as of a position of the log; records up to there are in it already and are skipped, so that it
    does not matter whether the log or the store is ahead.
    """

    def __init__(self, store: UserHistories, *, max_users: int, max_events: int) -> None:
        self._store = store
        self._max_users = max_users
        self._max_events = max_events
        self._cached: OrderedDict[str, UserHistory] = OrderedDict()
        self._recent: deque[_Record] = deque(maxlen=RECENT)
        self._sequence = 0

    async def read(self, user_id: str) -> tuple[HistoryEvent, ...]:
        """Returns a user's events, oldest first, from memory when they are there.

        Raises:
            DependencyUnavailable: they are not, and the store does not answer.

        """
        cached = self._cached.get(user_id)
        if cached is not None:
            self._cached.move_to_end(user_id)
            return cached.events
        history = await self._store.read(user_id)
        if len(self._recent) == RECENT and self._recent[0].sequence > history.sequence:
            # Records between the two may have been dropped: good for an answer, not for keeping.
            return history.events
        for record in self._recent:
            if record.user_id == user_id:
                history = self._after(history, record)
        self._cached[user_id] = history
        if len(self._cached) > self._max_users:
            self._cached.popitem(last=False)
        return history.events

    async def read_stored(self, user_id: str) -> tuple[HistoryEvent, ...]:
        """Returns a user's events, oldest first, from the store: where no log keeps the memory fresh."""
        return (await self._store.read(user_id)).events

    def before(self, sequence: int, user_id: str) -> tuple[HistoryEvent, ...]:
        """Returns a user's events, oldest first, before this log record; none unless memory holds just these."""
        cached = self._cached.get(user_id)
        return cached.events if cached is not None and cached.sequence < sequence else ()

    def add(self, sequence: int, event: Event) -> None:
        """Takes an event of the log in."""
        entry = HistoryEvent(event.item_id, event.type, event.timestamp, event.value, event.text)
        self._apply(_Record(sequence, event.user_id, entry))

    def forget(self, sequence: int, user_id: str) -> None:
        """Drops a user's events, also those kept to bring histories up to date."""
        # Emptied, not taken out: the positions tell whether records were dropped.
        emptied = (_Record(one.sequence, user_id, None) if one.user_id == user_id else one for one in self._recent)
        self._recent = deque(emptied, maxlen=self._recent.maxlen)
        self._apply(_Record(sequence, user_id, None))

    def clear(self) -> None:
        """Drops everything: the log was replaced."""
        self._cached.clear()
        self._recent.clear()
        self._sequence = 0

    def _apply(self, record: _Record) -> None:
        if record.sequence <= self._sequence:
            return
        self._sequence = record.sequence
        self._recent.append(record)
        cached = self._cached.get(record.user_id)
        if cached is not None:
            self._cached[record.user_id] = self._after(cached, record)

    def _after(self, history: UserHistory, record: _Record) -> UserHistory:
        if record.sequence <= history.sequence:
            return history
        if record.event is None:
            return UserHistory((), record.sequence)
        events = [*history.events, record.event]
        if len(events) > 1 and events[-1].timestamp < events[-2].timestamp:
            events.sort(key=lambda event: event.timestamp)
        return UserHistory(tuple(events[-self._max_events :]), record.sequence)
