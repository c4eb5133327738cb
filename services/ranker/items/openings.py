"""When items become available: the moments at which lists may change without anything being written."""

from __future__ import annotations

import heapq
import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.ranker.items.catalogue import Catalogue
    from shared.data.nouns import Item

SPARE = 1_000
"""Moments of items that were written again which may stay in memory besides those that hold."""


class Openings:
    """Moments, unix seconds, each dropped once it is asked about a later time. Used in the event loop only."""

    def __init__(self) -> None:
        self._heap: list[float] = []
        self.last = -math.inf
        """The latest moment that was asked about and has passed."""

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, item: Item, catalogue: Catalogue) -> None:
        """Notes when an item becomes available. `catalogue` holds it: what is no longer true is dropped by that."""
        # Of most items it has passed: those of a whole catalogue shall not be dropped by one call.
        if not (moment := _moment(item)) > time.time():
            return
        heapq.heappush(self._heap, moment)
        if len(self._heap) > 2 * len(catalogue) + SPARE:
            self._heap = [later for one in catalogue.items() if (later := _moment(one)) > time.time()]
            heapq.heapify(self._heap)

    def after(self, asked_at: float) -> float:
        """Returns the first moment after this time, infinity when there is none; see `last` for what has passed."""
        while self._heap and self._heap[0] <= asked_at:
            self.last = max(self.last, heapq.heappop(self._heap))
        return self._heap[0] if self._heap else math.inf


def _moment(item: Item) -> float:
    return -math.inf if item.available_from is None else item.available_from.timestamp()
