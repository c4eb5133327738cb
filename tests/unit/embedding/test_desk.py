from __future__ import annotations

import asyncio
import threading

import pytest

from services.embedding.attribution.desk import Desk
from shared.errors import DeadlineExceeded, Overloaded, ShuttingDown


class Gate:
    """Work that goes on, step after step, while the gate is shut."""

    def __init__(self):
        self.open = threading.Event()
        self.begun = threading.Event()
        self.ended = threading.Event()

    def work(self, go_on):
        self.begun.set()
        try:
            while not self.open.wait(0.005):
                go_on()
        finally:
            self.ended.set()
        return "done"


async def until(event):
    assert await asyncio.to_thread(event.wait, 10)


@pytest.fixture
def left():
    """The seconds left of the running call, as the test sets them."""
    return {"seconds": None}


@pytest.fixture
async def desk(left):
    desk = Desk(1, lambda: left["seconds"])
    yield desk
    await asyncio.to_thread(desk.close)


async def test_one_at_a_time_and_a_bounded_line(desk):
    first, second = Gate(), Gate()
    running = asyncio.create_task(desk.run(first.work))
    await until(first.begun)
    waiting = asyncio.create_task(desk.run(second.work))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await desk.run(Gate().work)
    assert refused.value.retry_after_s > 0
    assert not second.begun.is_set()
    first.open.set()
    second.open.set()
    assert await asyncio.gather(running, waiting) == ["done", "done"]
    third = Gate()
    third.open.set()
    assert await desk.run(third.work) == "done"


async def test_cancelled_work_ends_between_its_steps_and_makes_room(desk):
    gate, waiting = Gate(), Gate()
    running = asyncio.create_task(desk.run(gate.work))
    await until(gate.begun)
    queued = asyncio.create_task(desk.run(waiting.work))
    await asyncio.sleep(0)
    queued.cancel()
    running.cancel()
    await asyncio.gather(running, queued, return_exceptions=True)
    await until(gate.ended)
    assert not gate.open.is_set()
    after = Gate()
    after.open.set()
    assert await desk.run(after.work) == "done"
    assert not waiting.begun.is_set()


async def test_work_past_its_deadline_is_ended(desk, left):
    left["seconds"] = 0.05
    gate = Gate()
    with pytest.raises(DeadlineExceeded):
        await desk.run(gate.work)
    assert gate.ended.is_set()


async def test_work_that_comes_too_late_is_not_begun(desk, left):
    left["seconds"] = -1.0
    gate = Gate()
    with pytest.raises(DeadlineExceeded):
        await desk.run(gate.work)
    assert not gate.begun.is_set()


async def test_closing_ends_what_runs_and_refuses_what_comes(desk):
    gate = Gate()
    running = asyncio.create_task(desk.run(gate.work))
    await until(gate.begun)
    await asyncio.to_thread(desk.close)
    with pytest.raises(ShuttingDown):
        await running
    with pytest.raises(ShuttingDown):
        await desk.run(gate.work)
