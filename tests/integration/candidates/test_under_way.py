"""What happens while calls run, and what is large: both ways of change at once, long histories, an empty catalogue."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb

from shared.data.nouns import Event, EventType, Item

NOW = datetime(2021, 1, 1, tzinfo=UTC)
CALLS = 1_000


async def test_an_item_goes_and_one_comes_while_a_thousand_calls_run(world, liked):
    await world.train()
    history = liked("item-0", "item-3", "item-6")
    async with world.candidates() as client:
        limit = asyncio.Semaphore(16)

        async def call():
            async with limit:
                return await client.ids(history=history, k=61)

        calls = [asyncio.create_task(call()) for _ in range(CALLS)]
        await asyncio.wait(calls[:50])
        await world.ingestion.DeleteItem(ingestion_pb.DeleteItemRequest(item_id="item-9"))
        await world.write_items(Item("fresh", "space story just written", categories=("space",)))

        async def both_seen():
            ids = await client.ids(history=history, k=61)
            return "item-9" not in ids and "fresh" in ids

        await client.until(both_seen)
        answers = await asyncio.gather(*calls)
        assert len(answers) == CALLS
        assert all(len(ids) >= 56 for ids in answers)
        # Once gone it does not come back: the calls that began last see both.
        assert "item-9" not in await client.ids(history=history, k=61)


async def test_of_a_hundred_thousand_events_the_newest_are_kept(world):
    await world.train()
    async with world.candidates() as client:
        for start in range(0, 100_000, 1_000):
            await world.write_events(
                *(
                    Event(f"b{number}", "busy", f"item-{2 + 3 * (number % 20)}", EventType.LIKE, _at(number))
                    for number in range(start, start + 1_000)
                )
            )
        newest = [
            Event(f"n{number}", "busy", f"item-{3 * number}", EventType.LIKE, _at(200_000)) for number in range(5)
        ]
        await world.write_events(*newest)
        answer = await client.get("busy", k=60)
        seen = {f"item-{3 * number}" for number in range(5)} | {f"item-{2 + 3 * number}" for number in range(20)}
        assert {one.item_id for one in answer.candidates} == {f"item-{number}" for number in range(60)} - seen


async def test_an_empty_catalogue_has_no_candidates_and_says_so(world, liked):
    await world.train()
    async with world.candidates() as client:
        for number in range(60):
            await world.ingestion.DeleteItem(ingestion_pb.DeleteItemRequest(item_id=f"item-{number}"))

        async def empty():
            return not (await client.info()).catalogue_items

        await client.until(empty)
        answer = await client.get(history=liked("item-3"), k=5)
        assert (list(answer.candidates), answer.reason) == ([], "the catalogue is empty")


def _at(second):
    return NOW + timedelta(seconds=second)
