"""The batcher: one thread that computes, and a bounded queue in front of it."""

from __future__ import annotations

import threading
import time
from itertools import count
from typing import TYPE_CHECKING

import structlog

from services.embedding.batching.job import Encoded, Job, Priority
from services.embedding.batching.lanes import Lane, Row
from shared.errors import FusionrecError, Overloaded, ShuttingDown
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from services.embedding.ports import Encoder

log = structlog.get_logger(__name__)

_START_RATE = 2_000.0
"""Tokens per second assumed until a batch was timed; only the advice of when to retry hangs on it."""


class Batcher:
    """Merges rows of many callers into batches and computes them on a thread of its own.

    No artificial wait: while one batch computes, the next gathers. Interactive rows go before bulk rows; a running
    batch is never interrupted, so an interactive row waits for one batch of `batch_tokens` at most. At most
    `queue_texts` rows wait.
    """

    def __init__(
        self, encoder: Encoder, *, buckets: Sequence[int], batch_texts: int, batch_tokens: int, queue_texts: int
    ) -> None:
        self._encoder = encoder
        self._batch_texts = batch_texts
        self._batch_tokens = batch_tokens
        self._queue_texts = queue_texts
        self._lanes = {priority: Lane(buckets) for priority in Priority}
        self._changed = threading.Condition()
        self._closed = False
        self._arrivals = count()
        self._tokens_per_s = _START_RATE
        self._thread = threading.Thread(target=self._run, name="embedding-batcher", daemon=True)
        self._thread.start()

    def submit(
        self, rows: Sequence[Sequence[int]], priority: Priority, deadline: float | None = None
    ) -> Future[Encoded]:
        """Queues rows of token ids; returns the future of their vectors. Cancel it when nobody waits any more.

        `deadline` is a time of `time.monotonic()`: work not begun by then is dropped and the future raises
        `DeadlineExceeded`.

        Raises:
            Overloaded: the queue cannot take that many rows now.
            ShuttingDown: the batcher is closed.

        """
        job = Job(rows, self._encoder.facts.dim, deadline)
        with self._changed:
            if self._closed:
                raise ShuttingDown("the server is about to stop; another replica will answer")
            self._make_room(len(rows))
            for index in range(len(rows)):
                self._lanes[priority].add(Row(job, index, next(self._arrivals)))
            metrics.EMBED_QUEUE.set(self._waiting())
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Stops the thread after the batch it computes; waiting jobs fail with `ShuttingDown`."""
        with self._changed:
            self._closed = True
            rows = [row for lane in self._lanes.values() for row in lane.drain()]
            self._changed.notify()
        for row in rows:
            row.job.fail(ShuttingDown("the server stopped before the texts were embedded; retry"))
        self._thread.join()

    def _waiting(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def _make_room(self, wanted: int) -> None:
        if self._waiting() + wanted <= self._queue_texts:
            return
        for lane in self._lanes.values():
            lane.purge()
        waiting = self._waiting()
        if waiting + wanted > self._queue_texts:
            # A queue of short texts clears in about this time; the caller's backoff does the rest.
            retry_after_s = min(max(self._batch_tokens / self._tokens_per_s, 0.1), 5.0)
            raise Overloaded(
                f"{waiting} texts wait and {wanted} more would pass the limit of {self._queue_texts}; retry later",
                retry_after_s=retry_after_s,
            )

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if not batch:
                return
            self._compute(batch)

    def _next_batch(self) -> list[Row]:
        """Waits for work; empty when closed."""
        with self._changed:
            while not self._closed:
                for priority in Priority:
                    batch = self._lanes[priority].take(self._batch_texts, self._batch_tokens)
                    if batch:
                        metrics.EMBED_QUEUE.set(self._waiting())
                        return batch
                metrics.EMBED_QUEUE.set(0)
                self._changed.wait()
        return []

    def _compute(self, batch: list[Row]) -> None:
        jobs = {id(row.job): row.job for row in batch}.values()
        started = time.perf_counter()
        try:
            vectors = self._encoder.encode([row.ids for row in batch])
        except Exception:
            # Whatever the engine raises, the thread must live on and the callers must hear of it.
            log.exception("batch failed", texts=len(batch))
            for job in jobs:
                job.fail(FusionrecError("the encoder failed on a batch; the server's log has the reason"))
            return
        seconds = time.perf_counter() - started
        for row, vector in zip(batch, vectors, strict=True):
            row.job.put(row.index, vector)
        tokens = sum(len(row.ids) for row in batch)
        self._tokens_per_s += 0.1 * (tokens / max(seconds, 1e-6) - self._tokens_per_s)
        metrics.EMBED_TOKENS.inc(tokens)
        metrics.EMBED_BATCH.observe(len(batch))
        for job in jobs:
            job.computed(seconds)
