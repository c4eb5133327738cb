"""One caller's texts on their way through the batcher."""

from __future__ import annotations

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
    """Shape (rows, dim), in the order of the job's rows."""
    queue_s: float
    """Time spent waiting, seconds."""
    compute_s: float
    """Time of the batches that held rows of the job, seconds."""


class Job:
    """Rows of one caller. Written by the batcher's thread only, except for `future`, which the caller may cancel."""

    def __init__(self, rows: Sequence[Sequence[int]], dim: int, deadline: float | None) -> None:
        self.rows = rows
        self.deadline = deadline
        self.future: Future[Encoded] = Future()
        self._vectors = np.empty((len(rows), dim), np.float32)
        self._missing = len(rows)
        self._compute_s = 0.0
        self._arrived = time.monotonic()

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

    def put(self, index: int, vector: NDArray[np.float32]) -> None:
        """Notes the vector of one row."""
        self._vectors[index] = vector
        self._missing -= 1

    def computed(self, seconds: float) -> None:
        """Notes that a batch with rows of this job took `seconds`; ends the job when it was the last."""
        self._compute_s += seconds
        if self._missing:
            return
        waited = max(time.monotonic() - self._arrived - self._compute_s, 0.0)
        with suppress(InvalidStateError):
            self.future.set_result(Encoded(self._vectors, waited, self._compute_s))
