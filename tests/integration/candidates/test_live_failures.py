"""What goes wrong in live work is logged and gone past; nothing that waits is lost, nothing counted twice."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from services.candidates.catalogue.table import ItemTable
from services.candidates.sources.aligned_text import TextMap
from shared.data.nouns import Event, EventType, Item


def like(user, item):
    return Event(f"{user}-{item}", user, item, EventType.LIKE, datetime.now(UTC))


async def test_a_record_that_cannot_be_applied_is_skipped_and_the_others_count_once(world, monkeypatch, capsys):
    await world.train()
    put = ItemTable.put

    def refuse_one(table, item, *args):
        if item.item_id == "bad":
            raise RuntimeError("an item that no table takes")
        return put(table, item, *args)

    monkeypatch.setattr(ItemTable, "put", refuse_one)
    async with world.candidates() as client:
        before = await popular(client, "item-57")
        await world.write_events(*(like(f"fan-{number}", "item-57") for number in range(40)))
        await world.write_items(Item("bad", "space story of trouble"), Item("good", "space story of peace"))

        async def goes_on():
            return (await client.info()).catalogue_items == 61

        await client.until(goes_on)

        async def counted():
            return round(np.expm1(await popular(client, "item-57"))) == round(np.expm1(before)) + 40

        await client.until(counted)
        assert not (await client.info()).status_reason
    assert "could not be applied" in capsys.readouterr().out


async def popular(client, item_id):
    answer = await client.get("nobody", score_item_ids=[item_id], sources=["popular"])
    return answer.candidates[0].evidence[0].score


async def test_items_wait_on_when_their_mapping_fails_for_a_moment(world, liked, monkeypatch):
    await world.train()
    work, failures = TextMap.map, 0

    def fails_once(text_map, items, texts):
        nonlocal failures
        if failures == 0 and any(item.item_id == "fresh" for item in items):
            failures += 1
            raise RuntimeError("a moment of trouble")
        return work(text_map, items, texts)

    async with world.candidates() as client:
        monkeypatch.setattr(TextMap, "map", fails_once)
        await world.write_items(Item("fresh", "space story never seen"))

        async def told():
            return "internal error" in (await client.info()).status_reason

        async def found():
            return "fresh" in await client.ids(history=liked("item-0"), k=61, sources=["aligned_text"])

        await client.until(told)
        await client.until(found)
        assert not (await client.info()).status_reason
    assert failures == 1
