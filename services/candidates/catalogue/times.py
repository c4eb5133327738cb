"""Moments that something will change at, the next one first."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Times:
    """Unix seconds, each dropped once it is asked about a later time. Not safe to use from several threads."""

    def __init__(self) -> None:
        self._heap: list[float] = []

    def add(self, times: Iterable[float]) -> None:
        """Adds moments; infinities are none."""
        for time in times:
            if math.isfinite(time):
                heapq.heappush(self._heap, time)

    def after(self, time: float) -> float:
        """Returns the first moment after this time, infinity when there is none; time must not go back."""
        while self._heap and self._heap[0] <= time:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else math.inf
