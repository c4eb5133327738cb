"""Last known histories, for when ingestion does not answer."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.data.nouns import HistoryEvent


class KnownHistories:
    """The histories of the `capacity` users who asked last."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._histories: OrderedDict[str, tuple[HistoryEvent, ...]] = OrderedDict()

    def put(self, user_id: str, history: tuple[HistoryEvent, ...]) -> None:
        """Remembers a history."""
        self._histories[user_id] = history
        self._histories.move_to_end(user_id)
        if len(self._histories) > self._capacity:
            self._histories.popitem(last=False)

    def get(self, user_id: str) -> tuple[HistoryEvent, ...] | None:
        """Returns the last known history; None for a user who is not remembered."""
        return self._histories.get(user_id)

    def forget(self, user_id: str) -> None:
        """Drops a user: they were erased."""
        self._histories.pop(user_id, None)
