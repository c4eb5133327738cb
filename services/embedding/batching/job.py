"""One caller's texts on their way through the batcher."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from shared.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Priority(IntEnum):
    """How urgent a job is; lower numbers go first."""

    INTERACTIVE = 1
    BULK = 2


@dataclass(frozen=True)
class Encoded:
    """What became of a job."""

    vectors: NDArray[np.float32]
    """Shape (rows, dim), in the order of the job's rows. A row that the model computes nothing finite for is not finite
    here: it never takes others with it."""
    queue_s: float
    """Time spent waiting, seconds."""
    compute_s: float
    """Time from the first batch that held rows of the job to the end of the last, seconds."""


class Job:
    """Rows of one caller. Written by the batcher's threads, except for `future`, which the caller may cancel."""

    def __init__(self, rows: Sequence[Sequence[int]], dim: int, deadline: float | None) -> None:
        self.rows = rows
        self.deadline = deadline
        self.future: Future[Encoded] = Future()
        self._vectors = np.empty((len(rows), dim), np.float32)
        self._missing = len(rows)
        self._lock = threading.Lock()
        self._arrived = time.monotonic()
        self._begun = 0.0

    def drop_if_dead(self) -> bool:
        """Returns whether nobody waits any more: cancelled, failed, or past its deadline (which it then says)."""
        if not self.future.done() and self.deadline is not None and time.monotonic() >= self.deadline:
            self.fail(DeadlineExceeded("the time given ran out while the texts waited; give more or send fewer texts"))
        return self.future.done()

    def fail(self, error: Exception) -> None:
        """Ends the job with an error, unless it has ended."""
        # The caller may cancel between a look and the set: then nobody waits for the outcome.
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def begin(self) -> None:
        """Notes that a batch with rows of this job is being computed."""
        with self._lock:
            self._begun = self._begun or time.monotonic()

    def put(self, indices: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Notes the vectors of some rows; ends the job when they were the last."""
        # Other rows than those of other threads.
        self._vectors[indices] = vectors
        with self._lock:
            self._missing -= len(indices)
            if self._missing:
                return
        waited, computed = self._begun - self._arrived, time.monotonic() - self._begun
        with suppress(InvalidStateError):
            self.future.set_result(Encoded(self._vectors, waited, computed))
