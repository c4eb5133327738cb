"""What can wait gives way to what somebody waits for, but not for ever."""

from __future__ import annotations

import asyncio
import threading

import pytest

from services.candidates.workers import Courtesy, Workers


@pytest.fixture
def workers():
    made = Workers(1, "test")
    yield made
    made.close()


async def started(workers, work):
    begun = threading.Event()
    task = asyncio.create_task(workers.run(lambda: begun.set() or work()))
    await asyncio.to_thread(begun.wait)
    return task


async def test_gives_way_until_the_work_is_done(workers, monkeypatch):
    monkeypatch.setattr(Courtesy, "LONGEST_S", 60.0)
    done, order = threading.Event(), []
    courtesy = Courtesy(workers)
    work = await started(workers, lambda: done.wait(30) and order.append("work"))
    giving = asyncio.create_task(courtesy.give_way())
    giving.add_done_callback(lambda _: order.append("rest"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not giving.done()
    done.set()
    await asyncio.gather(work, giving)
    await asyncio.sleep(0)
    assert order == ["work", "rest"]


class NeverAtRest:
    """Workers with somebody always waiting, on a clock of their own."""

    def __init__(self):
        self.now, self.waits = 0.0, []

    def monotonic(self):
        return self.now

    async def at_rest(self, at_most_s):
        self.waits.append(at_most_s)
        self.now += at_most_s


@pytest.mark.parametrize("work_s", [0.0, 0.001, 0.05, 10.0])
async def test_does_not_wait_for_ever_nor_again_and_again(monkeypatch, work_s):
    busy = NeverAtRest()
    monkeypatch.setattr("services.candidates.workers.time", busy)
    courtesy = Courtesy(busy)
    for _ in range(200):
        busy.now += work_s
        await courtesy.give_way()
    assert max(busy.waits) <= Courtesy.LONGEST_S
    assert sum(busy.waits) <= Courtesy.LONGEST_S + Courtesy.SHARE * 200 * work_s + 1e-9
    # And it does give way, as much as it may.
    assert sum(busy.waits) >= min(Courtesy.LONGEST_S, Courtesy.SHARE * work_s) * 199


async def test_what_waits_for_workers_that_are_never_at_rest_goes_on(workers):
    done = threading.Event()
    work = await started(workers, lambda: done.wait(30))
    courtesy = Courtesy(workers)
    for _ in range(3):
        await courtesy.give_way()
    assert not work.done()
    done.set()
    await work


async def test_gives_way_to_work_that_failed_or_that_nobody_waits_for_any_more(workers, monkeypatch):
    monkeypatch.setattr(Courtesy, "LONGEST_S", 60.0)
    courtesy = Courtesy(workers)
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 / 0)
    await courtesy.give_way()
    done = threading.Event()
    work = await started(workers, lambda: done.wait(30))
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await courtesy.give_way()
    done.set()
