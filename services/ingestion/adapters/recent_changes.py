"""Which users' histories have changed of late: lets a reader be told that what it knows still holds."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

USERS = 100_000
"""Users in memory, some 150 bytes each."""


class RecentChanges:
    """The newest change of each of the `capacity` users who changed last. One thread writes, others may read meanwhile.

    Of the users who are not among them nothing is known but that they have not changed since `floor`, a sequence of
    the log: the end of it when this was made, or the newest change that was dropped.
    """

    def __init__(self, floor: int = 0, *, capacity: int = USERS) -> None:
        self._floor = floor
        self._capacity = capacity
        self._changes: OrderedDict[str, int] = OrderedDict()

    def note(self, user_ids: Iterable[str], sequence: int) -> None:
        """Notes that users change with a record up to `sequence`; to be called before that is committed.

        A change that is not committed after all only lets a history be read again that has not changed.
        """
        for user_id in user_ids:
            self._changes[user_id] = sequence
            self._changes.move_to_end(user_id)
        while len(self._changes) > self._capacity:
            user_id = next(iter(self._changes))
            # The floor first: who does not find the user any more finds the floor raised.
            self._floor = max(self._floor, self._changes[user_id])
            del self._changes[user_id]

    def none_since(self, user_id: str, sequence: int) -> bool:
        """Returns whether it is certain that nothing of the user changed after `sequence`."""
        changed = self._changes.get(user_id)
        return sequence >= (self._floor if changed is None else changed)
