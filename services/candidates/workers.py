"""Threads for work that would stall the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """A bounded pool of threads. The work sees the ContextVars of the call it is done for."""

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._under_way = 0
        self._at_rest = asyncio.Event()
        self._at_rest.set()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` in a thread and returns what it returns."""
        context = contextvars.copy_context()
        self._under_way += 1
        self._at_rest.clear()
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, lambda: context.run(work, *args, **kwargs))
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._at_rest.set()

    async def at_rest(self, at_most_s: float) -> None:
        """Waits until nobody waits for work that is done here, at most so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._at_rest.wait()

    def close(self) -> None:
        """Lets running work end and takes no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Courtesy:
    """Lets work that somebody waits for come first, where the rest can wait a little and must not fall behind.

    The threads and the event loop share one interpreter: what the loop does meanwhile, an answer waits for, some time
    after each of its steps that gave the interpreter away.
    """

    LONGEST_S = 0.05
    """Longest wait in one go."""
    SHARE = 0.5
    """Waits in all, relative to the time between them: whatever the load, the rest gets two thirds of the time."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._left = self.LONGEST_S
        self._since = time.monotonic()

    async def give_way(self) -> None:
        """Lets the event loop do what is due, and waits for the workers as long as this may."""
        begun = time.monotonic()
        self._left = min(self.LONGEST_S, self._left + self.SHARE * (begun - self._since))
        await asyncio.sleep(0)
        await self._workers.at_rest(self._left)
        self._since = time.monotonic()
        self._left = max(0.0, self._left - (self._since - begun))
