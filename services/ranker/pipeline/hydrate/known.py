"""Last known histories: read once while nothing changes, and what is left when ingestion does not answer."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.data.nouns import UserForgotten

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.ranker.features.profile import UserProfile
    from services.ranker.ports import StoredHistory
    from shared.data.nouns import LogRecord


@dataclass(frozen=True, slots=True)
class KnownUser:
    """A history as it was read, and the profile that it makes."""

    history: StoredHistory
    profile: UserProfile


class KnownHistories:
    """The histories of the `capacity` users who asked last; used in the event loop only."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._histories: OrderedDict[str, KnownUser] = OrderedDict()
        self._forgotten = 0

    @property
    def mark(self) -> int:
        """Changes whenever a user is erased."""
        return self._forgotten

    def put(self, user_id: str, known: KnownUser, mark: int) -> None:
        """Remembers a user's history, unless a user was erased since `mark` was read: it may be theirs."""
        if mark != self._forgotten:
            return
        self._histories[user_id] = known
        self._histories.move_to_end(user_id)
        if len(self._histories) > self._capacity:
            self._histories.popitem(last=False)

    def get(self, user_id: str) -> KnownUser | None:
        """Returns the last known history; None for a user who is not remembered."""
        return self._histories.get(user_id)

    def forget(self, user_id: str) -> None:
        """Drops a user: they were erased."""
        self._forgotten += 1
        self._histories.pop(user_id, None)

    def apply(self, records: Iterable[LogRecord]) -> None:
        """Drops the users who were erased."""
        for record in records:
            if isinstance(record.body, UserForgotten):
                self.forget(record.body.user_id)

    def reset(self) -> None:
        """Drops all users: the log was replaced by another one."""
        self._forgotten += 1
        self._histories.clear()
