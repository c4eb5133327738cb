"""Large work leaves the event loop, small work stays; streams end when the server drains."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from shared.errors import ShuttingDown
from shared.offload import INLINE_ELEMENTS, offload, until_set

request: ContextVar[str] = ContextVar("request", default="")


@pytest.mark.parametrize(("elements", "inline"), [(0, True), (INLINE_ELEMENTS, True), (INLINE_ELEMENTS + 1, False)])
async def test_large_work_runs_on_a_thread_with_the_context_of_its_call(elements, inline):
    def work(greeting, *, name):
        return f"{greeting} {name} {request.get()}", threading.current_thread() is threading.main_thread()

    request.set("r1")
    assert await offload(elements, work, "hello", name="u1") == ("hello u1 r1", inline)


async def test_what_the_work_raises_is_raised():
    def work():
        raise ValueError("broken")

    for elements in (1, INLINE_ELEMENTS + 1):
        with pytest.raises(ValueError, match="broken"):
            await offload(elements, work)


async def test_until_set_passes_on_everything_and_ends():
    async def numbers():
        for number in range(3):
            yield number

    assert [one async for one in until_set(numbers(), asyncio.Event())] == [0, 1, 2]


async def test_until_set_does_not_wait_for_a_silent_source():
    stopping = asyncio.Event()

    async def silent():
        yield 1
        await asyncio.Event().wait()

    passed = until_set(silent(), stopping)
    assert await anext(passed) == 1
    following = asyncio.ensure_future(anext(passed))
    await asyncio.sleep(0)
    stopping.set()
    with pytest.raises(ShuttingDown):
        await asyncio.wait_for(following, 5)


async def test_until_set_passes_on_what_the_source_raises():
    async def broken():
        yield 1
        raise ValueError("broken")

    passed = until_set(broken(), asyncio.Event())
    assert await anext(passed) == 1
    with pytest.raises(ValueError, match="broken"):
        await anext(passed)
