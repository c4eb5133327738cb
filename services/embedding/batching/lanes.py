"""Waiting rows of one priority, fair between the jobs that brought them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.embedding.batching.job import Job

QUANTUM_TOKENS = 128
"""Tokens that a job gets in its turn: some ten titles. Enough texts of like length to fill rows well."""


@dataclass(frozen=True, slots=True)
class Row:
    """One waiting text: row `index` of `job`."""

    job: Job
    index: int

    @property
    def ids(self) -> Sequence[int]:
        """The token ids."""
        return self.job.rows[self.index]


class Lane:
    """Rows that wait, one queue per job.

    Jobs take turns (deficit round robin, Shreedhar and Varghese 1996, in its simplest form): a job of one text that
    comes behind one of a thousand is in the next batch. Within a job the longest texts go first, so that neighbours
    differ little in length.
    """

    def __init__(self) -> None:
        self._turns: deque[tuple[Job, deque[int]]] = deque()
        self._texts = 0
        self._tokens = 0

    def __len__(self) -> int:
        return self._texts

    @property
    def tokens(self) -> int:
        """Tokens that wait."""
        return self._tokens

    def add(self, job: Job) -> None:
        """Appends all rows of a job."""
        order = sorted(range(len(job.rows)), key=lambda index: len(job.rows[index]), reverse=True)
        self._turns.append((job, deque(order)))
        self._texts += len(job.rows)
        self._tokens += sum(map(len, job.rows))

    def take(self, batch_texts: int, batch_tokens: int) -> list[Row]:
        """Removes and returns the next batch, of all jobs in turn.

        At most `batch_texts` rows of together `batch_tokens` tokens, or a single row. Rows nobody waits for any more
        are removed on the way. Empty when no live row is left.
        """
        batch: list[Row] = []
        left = batch_tokens
        while self._turns and len(batch) < batch_texts and left > 0:
            job, order = self._turns.popleft()
            if job.drop_if_dead():
                self._forget(job, order)
                continue
            spent = self._take_turn(job, order, batch, batch_texts, left)
            left -= spent
            if order and spent:
                self._turns.append((job, order))
            elif order:
                # Its next text does not fit any more: it stays the first in turn.
                self._turns.appendleft((job, order))
                break
        return batch

    def _take_turn(self, job: Job, order: deque[int], batch: list[Row], batch_texts: int, left: int) -> int:
        """Moves rows of one job into the batch, one at least if it fits; returns their tokens."""
        spent = 0
        while order and len(batch) < batch_texts:
            total = spent + len(job.rows[order[0]])
            if (batch and total > left) or (spent and total > QUANTUM_TOKENS):
                break
            batch.append(Row(job, order.popleft()))
            spent = total
            self._texts -= 1
        self._tokens -= spent
        return spent

    def purge(self) -> None:
        """Removes every row nobody waits for any more."""
        for _ in range(len(self._turns)):
            job, order = self._turns.popleft()
            if job.drop_if_dead():
                self._forget(job, order)
            else:
                self._turns.append((job, order))

    def drain(self) -> list[Job]:
        """Removes all rows; returns their jobs."""
        jobs = [job for job, _ in self._turns]
        self._turns.clear()
        self._texts = self._tokens = 0
        return jobs

    def _forget(self, job: Job, order: deque[int]) -> None:
        self._texts -= len(order)
        self._tokens -= sum(len(job.rows[index]) for index in order)
