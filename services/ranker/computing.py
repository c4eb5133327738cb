"""The thread that answers are computed on."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class Computing:
    """Runs work off the event loop, one piece after the other.

    Scoring is hundreds of small steps of Python and numpy. Several threads at it hand the interpreter to and fro and
    finish none of them sooner: with a thread for each call, calls took a quarter more time of the processor, and the
    event loop waited for its turn among all of them.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ranker-computing")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns `work(*args, **kwargs)`, run in the caller's context as `asyncio.to_thread` does."""
        call = partial(copy_context().run, partial(work, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def close(self) -> None:
        """Ends the thread when what it has begun is done; what waits is dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)
