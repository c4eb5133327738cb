"""The desk for slow questions: one at a time, on a thread of its own, with a bounded line in front of it."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from shared.errors import DeadlineExceeded, Overloaded, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

T = TypeVar("T")


class Abandoned(Exception):  # (nobody hears of it)
    """The caller went away: the rest of the work is not done."""


class Desk:
    """Runs work beside the batcher. Safe to use from the event loop only.

    Args:
        waiting: calls that may wait while one is worked on.
        seconds_left: time left of the running call, None when it has no deadline.

    """

    def __init__(self, waiting: int, seconds_left: Callable[[], float | None]) -> None:
        self._waiting = waiting
        self._seconds_left = seconds_left
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding-attribution")
        self._lock = threading.Lock()
        self._present = 0
        self._closed = False
        self._seconds = 1.0

    async def run(self, work: Callable[[Callable[[], None]], T]) -> T:
        """Returns `work(go_on)`. The work calls `go_on` between its steps, which raises when it shall not go on.

        Raises:
            Overloaded: too many calls wait.
            DeadlineExceeded: the call's time ran out.
            ShuttingDown: the server is about to stop.

        """
        self._enter()
        left = self._seconds_left()
        deadline = None if left is None else time.monotonic() + left
        abandoned = threading.Event()

        def go_on() -> None:
            if abandoned.is_set():
                raise Abandoned
            if self._closed:
                raise ShuttingDown("the server is about to stop; another replica will answer")
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineExceeded("the time given ran out before the words were weighed; give more")

        future = self._submit(work, go_on)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            abandoned.set()
            raise

    def close(self) -> None:
        """Ends the thread after the step it is at; calls that wait fail with `ShuttingDown`. Blocks until then."""
        self._closed = True
        self._pool.shutdown(wait=True)

    def _enter(self) -> None:
        with self._lock:
            if self._closed:
                raise ShuttingDown("the server is about to stop; another replica will answer")
            if self._present > self._waiting:
                raise Overloaded(
                    f"{self._present} attributions are under way or wait, which is the limit; retry later",
                    retry_after_s=min(max(self._seconds, 0.1), 10.0),
                )
            self._present += 1

    def _submit(self, work: Callable[[Callable[[], None]], T], go_on: Callable[[], None]) -> Future[T]:
        def timed() -> T:
            go_on()
            started = time.perf_counter()
            result = work(go_on)
            self._seconds += 0.2 * (time.perf_counter() - started - self._seconds)
            return result

        try:
            future = self._pool.submit(timed)
        except RuntimeError as error:
            self._leave()
            raise ShuttingDown("the server is about to stop; another replica will answer") from error
        # Also when it is cancelled before it begins: the place is free once nothing is done for it any more.
        future.add_done_callback(lambda _: self._leave())
        return future

    def _leave(self) -> None:
        with self._lock:
            self._present -= 1
