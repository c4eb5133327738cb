"""The batcher: streams that compute side by side, and a bounded queue in front of them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import structlog

from services.embedding.batching.job import Encoded, Job, Priority
from services.embedding.batching.lanes import Lane
from services.embedding.encoders.grouping import group_by_length
from shared.errors import FusionrecError, Overloaded, ShuttingDown
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from services.embedding.batching.lanes import Row
    from services.embedding.ports import Encoder

log = structlog.get_logger(__name__)

_START_RATE = 2_000.0
"""Tokens per second of a stream assumed until a batch was timed; only the advice of when to retry hangs on it."""
_BULK_TURN = 8
"""Of so many batches one is bulk work, however much interactive work waits: bulk is slow then, and never stands."""
_SHARE_TOKENS = 128
"""Work is shared between idle streams down to batches of so many tokens: smaller ones compute a token slower."""
_GATHER_S = 0.002
"""How long a free stream lets texts gather to a batch of that size while another stream computes, seconds."""
_RETRY_S = (0.05, 10.0)
"""Shortest and longest advice of when to retry, seconds."""


class Batcher:
    """Merges rows of many callers into batches and computes them on `streams` threads of its own.

    While batches compute, the next ones gather, and what waits is shared between the streams. A text that comes while
    none computes is begun at once; while others do, a free stream waits for a few milliseconds for more of them, since
    many callers answered together come back one after the other. Interactive rows go before bulk rows, but for one
    batch in eight; a running batch is never interrupted, so an interactive row waits for one batch of `batch_tokens`
    at most. Inside a priority, jobs take turns (`Lane`). At most `queue_texts` rows wait. An encoder that does not
    pack (`ModelFacts.packs`) gets a batch in parts of one length class of `buckets` each.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        streams: int,
        buckets: Sequence[int],
        batch_texts: int,
        batch_tokens: int,
        queue_texts: int,
    ) -> None:
        self._encoder = encoder
        self._buckets = buckets
        self._batch_texts = batch_texts
        self._batch_tokens = batch_tokens
        self._queue_texts = queue_texts
        self._lanes = {priority: Lane() for priority in Priority}
        self._changed = threading.Condition()
        self._closed = False
        self._before_bulk = _BULK_TURN
        self._computing = 0
        self._tokens_per_s = _START_RATE
        self._threads = [
            threading.Thread(target=self._run, name=f"embedding-stream-{number}", daemon=True)
            for number in range(streams)
        ]
        for thread in self._threads:
            thread.start()

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
            self._lanes[priority].add(job)
            metrics.EMBED_QUEUE.set(self._waiting())
            self._changed.notify(len(rows))
        return job.future

    def check_room(self, texts: int) -> None:
        """Checks whether the queue would take so many rows now: before the work of tokenizing them.

        Raises:
            Overloaded: it would not.

        """
        with self._changed:
            self._make_room(texts)

    def close(self) -> None:
        """Stops the threads after the batches they compute; waiting jobs fail with `ShuttingDown`."""
        with self._changed:
            self._closed = True
            jobs = [job for lane in self._lanes.values() for job in lane.drain()]
            self._changed.notify_all()
        for job in jobs:
            job.fail(ShuttingDown("the server stopped before the texts were embedded; retry"))
        for thread in self._threads:
            thread.join()

    def _waiting(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def _make_room(self, wanted: int) -> None:
        if self._waiting() + wanted <= self._queue_texts:
            return
        for lane in self._lanes.values():
            lane.purge()
        waiting = self._waiting()
        over = waiting + wanted - self._queue_texts
        if over > 0:
            # When as many texts as are too many now have been computed, at the rate and the length of those that wait.
            tokens = sum(lane.tokens for lane in self._lanes.values()) * over / max(waiting, 1)
            seconds = tokens / (self._tokens_per_s * len(self._threads))
            raise Overloaded(
                f"{waiting} texts wait and {wanted} more would pass the limit of {self._queue_texts}; retry later",
                retry_after_s=min(max(seconds, _RETRY_S[0]), _RETRY_S[1]),
            )

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                self._compute(batch)
            finally:
                with self._changed:
                    self._computing -= 1
                    # Who gathers need not wait when nobody computes any more.
                    self._changed.notify()

    def _next_batch(self) -> list[Row]:
        """Waits for work; empty when closed."""
        with self._changed:
            while not self._closed:
                if self._waiting():
                    self._gather()
                    batch = self._take()
                    metrics.EMBED_QUEUE.set(self._waiting())
                    if batch:
                        self._computing += 1
                        return batch
                else:
                    self._changed.wait()
        return []

    def _gather(self) -> None:
        until = time.monotonic() + _GATHER_S
        while self._computing and not self._closed:
            left = until - time.monotonic()
            if left <= 0 or sum(lane.tokens for lane in self._lanes.values()) >= _SHARE_TOKENS:
                return
            self._changed.wait(left)

    def _take(self) -> list[Row]:
        bulk_first = self._before_bulk <= 0
        for priority in sorted(Priority, reverse=bulk_first):
            lane = self._lanes[priority]
            share = -(-lane.tokens // len(self._threads))
            batch = lane.take(self._batch_texts, min(max(share, _SHARE_TOKENS), self._batch_tokens))
            if batch:
                passed_over = priority is Priority.INTERACTIVE and len(self._lanes[Priority.BULK]) > 0
                self._before_bulk = self._before_bulk - 1 if passed_over else _BULK_TURN - 1
                return batch
        return []

    def _compute(self, batch: list[Row]) -> None:
        lengths = [len(row.ids) for row in batch]
        started = time.perf_counter()
        if self._encoder.facts.packs:
            self._encode(batch)
        else:
            for group in group_by_length(lengths, self._buckets, self._batch_tokens):
                self._encode([batch[index] for index in group])
        seconds = time.perf_counter() - started
        tokens = sum(lengths)
        self._tokens_per_s += 0.1 * (tokens / max(seconds, 1e-6) - self._tokens_per_s)
        metrics.EMBED_TOKENS.inc(tokens)

    def _encode(self, batch: list[Row]) -> None:
        places: dict[int, list[int]] = {}
        jobs = {id(row.job): row.job for row in batch}
        for place, row in enumerate(batch):
            places.setdefault(id(row.job), []).append(place)
        for job in jobs.values():
            job.begin()
        try:
            vectors = self._vectors([row.ids for row in batch])
        except Exception:
            # Whatever the engine raises, the thread must live on and the callers must hear of it.
            log.exception("batch failed", texts=len(batch))
            for job in jobs.values():
                job.fail(FusionrecError("the encoder failed on a batch; the server's log has the reason"))
            return
        metrics.EMBED_BATCH.observe(len(batch))
        for number, job in jobs.items():
            own = places[number]
            job.put([batch[place].index for place in own], vectors[own])

    def _vectors(self, rows: list[Sequence[int]]) -> NDArray[np.float32]:
        vectors = self._encoder.encode(rows)
        wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(wrong) and len(rows) > 1:
            # Where texts are packed, one that overflows spoils those beside it: each is computed again, alone.
            vectors = vectors.copy()
            for index in wrong:
                vectors[index] = self._encoder.encode([rows[index]])[0]
        return vectors
