"""Users as the sources see them, kept from call to call."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.candidates.profile import build_profile
from services.candidates.profile_extended import extend_profile

if TYPE_CHECKING:
    from services.candidates.catalogue.table import ItemTable
    from services.candidates.profile import Profile
    from shared.data.nouns import HistoryEvent
    from shared.data.preferences import PreferenceRules

FRESH_S = 60.0
"""A kept profile is asked about a time up to this much later than it was made for, seconds: the decay of a minute is
below what the order of items shows."""


@dataclass(frozen=True, eq=False)
class _Kept:
    events: tuple[HistoryEvent, ...]
    known_ids: int
    """Ids that the table knew when the profile was made: an event of an item that came later counts from then on."""
    is_complete: bool
    """The table knew the items of all events: what comes to it later changes nothing."""
    profile: Profile

    def is_current(self, known_ids: int) -> bool:
        """Returns whether a table with so many ids would make the same profile of the same events."""
        return self.is_complete or self.known_ids == known_ids

    def is_begun_by(self, events: tuple[HistoryEvent, ...]) -> bool:
        """Returns whether a history is this one with, mostly, some more events at its end."""
        # Events are the same objects as a rule, which makes this a comparison of pointers.
        return events is self.events or events[: len(self.events)] == self.events


class Profiles:
    """At most `max_users` profiles, the least recently asked dropped first; safe to use from several threads.

    A profile, and all that sources keep on it (the folded-in vector, the sums over neighbours), is good as long as the
    history is the same; a history that has grown only has what came read.
    """

    def __init__(self, table: ItemTable, rules: PreferenceRules, max_users: int) -> None:
        self._table = table
        self._rules = rules
        self._max_users = max_users
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._forgotten = 0
        """Counts what was forgotten: a profile that was being made meanwhile is not kept."""
        self._lock = threading.Lock()

    def of(self, user_id: str, events: tuple[HistoryEvent, ...], asked_at: float) -> Profile:
        """Returns the profile of a user with this history, asked at this time, unix seconds."""
        known_ids = len(self._table)
        with self._lock:
            forgotten = self._forgotten
            kept = self._kept.get(user_id)
            if kept is not None and not self._is_of_use(kept, events, known_ids):
                kept = None
            if kept is not None and self._is_good(kept, events, asked_at):
                self._kept.move_to_end(user_id)
                return kept.profile
        made = self._made(user_id, kept, events, known_ids, asked_at)
        with self._lock:
            if forgotten != self._forgotten:
                return made.profile
            self._kept[user_id] = made
            self._kept.move_to_end(user_id)
            if len(self._kept) > self._max_users:
                self._kept.popitem(last=False)
        return made.profile

    def forget(self, user_id: str) -> None:
        """Drops a user's profile."""
        with self._lock:
            self._forgotten += 1
            self._kept.pop(user_id, None)

    def clear(self) -> None:
        """Drops all profiles."""
        with self._lock:
            self._forgotten += 1
            self._kept.clear()

    def _is_of_use(self, kept: _Kept, events: tuple[HistoryEvent, ...], known_ids: int) -> bool:
        return kept.is_current(known_ids) and kept.is_begun_by(events)

    def _is_good(self, kept: _Kept, events: tuple[HistoryEvent, ...], asked_at: float) -> bool:
        return len(kept.events) == len(events) and 0 <= asked_at - kept.profile.asked_at < FRESH_S

    def _made(
        self, user_id: str, kept: _Kept | None, events: tuple[HistoryEvent, ...], known_ids: int, asked_at: float
    ) -> _Kept:
        rows = self._table.rows
        added = events if kept is None else events[len(kept.events) :]
        is_complete = (kept is None or kept.is_complete) and all(one.item_id in rows for one in added)
        if kept is None:
            profile = build_profile(events, rows, self._rules, asked_at=asked_at, user_id=user_id)
        else:
            profile = extend_profile(kept.profile, added, rows, self._rules, asked_at=asked_at)
        return _Kept(events, known_ids, is_complete, profile)
