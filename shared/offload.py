"""Helpers of RPC methods: work off the event loop, streams that end when the server drains."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from shared.errors import ShuttingDown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

P = ParamSpec("P")
T = TypeVar("T")

INLINE_ELEMENTS = 40
"""Elements (about 20 microseconds each to decode or encode) up to which a thread costs more than it saves."""


async def offload(elements: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Returns `work(*args, **kwargs)`, run on a thread when it handles many elements."""
    if elements <= INLINE_ELEMENTS:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


async def until_set(source: AsyncIterator[T], stopping: asyncio.Event) -> AsyncIterator[T]:
    """Yields what `source` yields.

    Raises:
        ShuttingDown: `stopping` was set, at once, also while `source` is silent.

    """
    stopped = asyncio.ensure_future(stopping.wait())
    following = asyncio.ensure_future(anext(source))
    try:
        while True:
            await asyncio.wait((following, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                raise ShuttingDown("the server is about to stop; send what was not acknowledged again")
            try:
                element = following.result()
            except StopAsyncIteration:
                return
            yield element
            following = asyncio.ensure_future(anext(source))
    finally:
        following.cancel()
        stopped.cancel()
