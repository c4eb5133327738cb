"""Supervised work: started again after any failure, told each time, ended by its own return or by a cancel."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from shared.background import supervised


class Work:
    """Fails a number of times, then waits to be let go."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.starts = 0
        self.running = asyncio.Event()
        self.let_go = asyncio.Event()
        self.cancelled = False

    async def __call__(self) -> None:
        self.starts += 1
        if self.starts <= self.failures:
            raise KeyError("a bad record")
        self.running.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_it_is_started_again_after_every_failure_and_each_is_logged():
    work = Work(failures=3)
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(supervised(work, "log follower", restart_s=0.001))
        await asyncio.wait_for(work.running.wait(), 5)
    assert work.starts == 4
    assert [line["work"] for line in logs] == ["log follower"] * 3
    assert all(line["exc_info"] for line in logs)
    work.let_go.set()
    await asyncio.wait_for(task, 5)


async def test_it_ends_when_the_work_returns():
    work = Work(failures=0)
    work.let_go.set()
    await asyncio.wait_for(supervised(work, "warm-up"), 5)
    assert work.starts == 1


async def test_a_cancel_reaches_the_work_and_ends_the_supervision():
    work = Work(failures=0)
    task = asyncio.create_task(supervised(work, "log follower"))
    await asyncio.wait_for(work.running.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.cancelled
    assert work.starts == 1


async def test_a_cancel_during_the_pause_ends_it():
    work = Work(failures=100)
    task = asyncio.create_task(supervised(work, "log follower", restart_s=3600))
    while work.starts == 0:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.starts == 1
