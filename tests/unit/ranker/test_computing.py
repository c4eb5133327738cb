"""The thread that answers are computed on."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from services.ranker.computing import Computing

NAME: ContextVar[str] = ContextVar("name", default="")


@pytest.fixture
def computing():
    made = Computing()
    yield made
    made.close()


async def test_work_runs_one_piece_after_the_other_off_the_event_loop(computing):
    running, most = 0, 0

    def work(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        assert threading.current_thread() is not threading.main_thread()
        running -= 1
        return number

    assert await asyncio.gather(*(computing.run(work, number) for number in range(50))) == list(range(50))
    assert most == 1


async def test_work_sees_its_callers_context_and_raises_to_its_caller(computing):
    async def named(name):
        NAME.set(name)
        return await computing.run(NAME.get)

    assert await asyncio.gather(*(asyncio.create_task(named(name)) for name in "abc")) == ["a", "b", "c"]
    with pytest.raises(ZeroDivisionError):
        await computing.run(lambda: 1 / 0)
    assert await computing.run(lambda: 1) == 1
