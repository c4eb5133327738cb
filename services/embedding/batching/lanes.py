"""Waiting rows of one priority, sorted into length classes."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.embedding.batching.job import Job


@dataclass(frozen=True, slots=True)
class Row:
    """One waiting text: row `index` of `job`; `arrival` orders all rows."""

    job: Job
    index: int
    arrival: int

    @property
    def ids(self) -> Sequence[int]:
        """The token ids."""
        return self.job.rows[self.index]


class Lane:
    """Rows that wait, one queue per length class.

    Texts of one class differ little in length, so that a batch of them holds little padding.
    """

    def __init__(self, buckets: Sequence[int]) -> None:
        self._buckets = buckets
        self._queues: list[deque[Row]] = [deque() for _ in range(len(buckets) + 1)]

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues)

    def add(self, row: Row) -> None:
        """Appends a row to its class."""
        self._queues[bisect_left(self._buckets, len(row.ids))].append(row)

    def take(self, batch_texts: int, batch_tokens: int) -> list[Row]:
        """Removes and returns the next batch: the class of the oldest live row, in order of arrival.

        At most `batch_texts` rows; rows times longest row stay within `batch_tokens`, or it is a single row. Rows
        nobody waits for any more are removed on the way. Empty when no live row is left.
        """
        for queue in self._queues:
            while queue and queue[0].job.drop_if_dead():
                queue.popleft()
        waiting = [queue for queue in self._queues if queue]
        if not waiting:
            return []
        queue = min(waiting, key=lambda one: one[0].arrival)
        batch: list[Row] = []
        longest = 0
        while queue and len(batch) < batch_texts:
            row = queue[0]
            if not row.job.drop_if_dead():
                longest = max(longest, len(row.ids))
                if batch and longest * (len(batch) + 1) > batch_tokens:
                    break
                batch.append(row)
            queue.popleft()
        return batch

    def purge(self) -> None:
        """Removes every row nobody waits for any more."""
        for queue in self._queues:
            alive = [row for row in queue if not row.job.drop_if_dead()]
            queue.clear()
            queue.extend(alive)

    def drain(self) -> list[Row]:
        """Removes and returns all rows."""
        rows = [row for queue in self._queues for row in queue]
        for queue in self._queues:
            queue.clear()
        return rows
