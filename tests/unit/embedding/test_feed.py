from __future__ import annotations

import asyncio

import pytest

from services.embedding.serving.feed import in_order


async def numbers(count, given):
    for number in range(count):
        given.append(number)
        yield number


async def test_answers_come_in_order_whatever_takes_longer():
    async def work(number):
        await asyncio.sleep(0.01 * (3 - number % 4))
        return number * number

    assert [made async for made in in_order(numbers(9, []), work, ahead=4)] == [n * n for n in range(9)]


async def test_no_more_is_taken_than_may_be_under_way():
    given, gate, begun = [], asyncio.Event(), []

    async def work(number):
        begun.append(number)
        await gate.wait()
        return number

    feed = in_order(numbers(50, given), work, ahead=3)
    first = asyncio.ensure_future(anext(feed))
    for _ in range(30):
        await asyncio.sleep(0)
    assert begun == [0, 1, 2]
    # One more has been read, and waits.
    assert len(given) <= 4
    gate.set()
    assert await first == 0
    assert [made async for made in feed] == list(range(1, 50))


async def test_an_error_comes_in_its_place_and_ends_the_work_behind_it():
    async def work(number):
        if number == 2:
            raise ValueError("two")
        await asyncio.sleep(0 if number < 2 else 60)
        return number

    feed = in_order(numbers(9, []), work, ahead=4)
    assert [await anext(feed), await anext(feed)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        await anext(feed)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_error_of_the_source_is_raised_while_work_waits():
    async def source():
        yield 1
        raise RuntimeError("stop")

    async def work(_number):
        await asyncio.sleep(60)

    async with asyncio.timeout(10):
        with pytest.raises(RuntimeError, match="stop"):
            await anext(in_order(source(), work, ahead=3))
