"""Feeds: answers in order, while the next lists are worked on."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

Given = TypeVar("Given")
Made = TypeVar("Made")


async def in_order(
    source: AsyncIterator[Given], work: Callable[[Given], Awaitable[Made]], *, ahead: int
) -> AsyncIterator[Made]:
    """Yields `work(element)` of every element, in the order of `source`.

    At most `ahead` elements are taken from `source` before their answers are taken from here: that is the feed's flow
    control. What an element's work raises is raised in its place, after the answers before it; what `source` raises,
    at once. Work that nobody waits for any more is cancelled.
    """
    running: deque[asyncio.Future[Made]] = deque()
    reading: asyncio.Future[Given] | None = asyncio.ensure_future(anext(source))
    try:
        while running or reading is not None:
            waited: set[asyncio.Future[Any]] = set(list(running)[:1])
            if reading is not None and len(running) < ahead:
                waited.add(reading)
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if running and running[0].done():
                yield running.popleft().result()
            elif reading is not None and reading.done():
                try:
                    element = reading.result()
                except StopAsyncIteration:
                    reading = None
                    continue
                running.append(asyncio.ensure_future(work(element)))
                reading = asyncio.ensure_future(anext(source))
    finally:
        left: list[asyncio.Future[Any]] = [*running, *([] if reading is None else [reading])]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
