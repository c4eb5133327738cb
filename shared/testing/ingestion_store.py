"""The contract of an event store, as a test class: an engine's tests subclass it and say how to open the engine.

    class TestSqliteStore(IngestionStoreContract):
        def opened(self, place):
            return opened_sqlite(place)

The store is `services.ingestion.ports.Store`; this room may not import services, so it is `Any` here.
"""
# ruff: noqa: PLR2004 (expected values are literals on purpose)

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from shared.data.nouns import Event, EventType, Item, ItemDeleted, LogRecord, UserForgotten
from shared.testing.ingestion_samples import ALL_BUT_IMPRESSIONS, FULL_EVENT, FULL_ITEM, NOTHING, START, event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


async def whole_log(store: Any, limit: int = 1000, exclude: frozenset[EventType] = NOTHING) -> list[LogRecord]:
    """Reads the log from the start in stretches of at most `limit`."""
    records: list[LogRecord] = []
    position, at_end = 0, False
    while not at_end:
        stretch = await store.read(position, limit, exclude)
        assert len(stretch.records) <= limit
        records += stretch.records
        position, at_end = stretch.position, stretch.at_end
    return records


async def history(store: Any, user: str, *, limit: int = 100, **asked: Any) -> Any:
    """Reads a history with the defaults of the service."""
    return await store.user_history(
        user, limit=limit, types=asked.get("types", ALL_BUT_IMPRESSIONS), before=asked.get("before")
    )


class IngestionStoreContract:
    """What every engine must do. Subclasses override `opened`."""

    def opened(self, place: Path) -> AbstractAsyncContextManager[Any]:
        """Returns a context manager that opens the store kept at `place`, made when it is not there."""
        raise NotImplementedError

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Any]:
        """An empty store."""
        async with self.opened(tmp_path) as store:
            yield store

    async def test_an_empty_store_has_nothing(self, store: Any) -> None:
        """Nothing is not an error."""
        stretch = await store.read(0, 10, NOTHING)
        assert (stretch.records, stretch.position, stretch.at_end, store.end) == ([], 0, True, 0)
        assert (await history(store, "nobody")).total == 0
        assert await store.list_items("", 10) == ([], False)
        assert await store.get_items(["x"]) == {}
        stats = await store.stats()
        assert (dict(stats.events_by_type), stats.users, stats.items, stats.unknown_items) == ({}, 0, 0, 0)
        assert (stats.oldest, stats.newest, stats.sequence) == (None, None, 0)

    async def test_events_come_back_as_they_were_written(self, store: Any) -> None:
        """All fields, to the microsecond."""
        appended = await store.append_events([FULL_EVENT, event(1)])
        assert appended.stored == (True, True)
        assert appended.sequence == store.end
        records = await whole_log(store)
        assert [record.body for record in records] == [FULL_EVENT, event(1)]
        assert records[0].sequence < records[1].sequence == store.end
        assert abs(datetime.now(UTC) - records[0].appended_at) < timedelta(minutes=5)
        assert (await history(store, FULL_EVENT.user_id)).events == [FULL_EVENT]

    async def test_an_event_id_is_stored_once(self, store: Any) -> None:
        """Across batches and within one; the first content stays."""
        await store.append_events([event(1)])
        changed = replace(event(1), item_id="other")
        appended = await store.append_events([changed, event(2), event(2), event(3)])
        assert appended.stored == (False, True, False, True)
        assert [record.body for record in await whole_log(store)] == [event(1), event(2), event(3)]
        again = await store.append_events([event(1), event(2), event(3)])
        assert again.stored == (False, False, False)
        assert again.sequence == appended.sequence
        assert (await store.stats()).events_by_type == {EventType.CLICK: 3}

    async def test_everything_is_there_after_a_restart(self, tmp_path: Path) -> None:
        """Records, catalogue, deduplication, identity and position."""
        async with self.opened(tmp_path) as store:
            await store.append_events([event(1)])
            await store.upsert_items([FULL_ITEM])
            before = (store.log_id, store.end, await whole_log(store), await store.stats())
            items = await store.get_items([FULL_ITEM.item_id])
        async with self.opened(tmp_path) as store:
            assert (store.log_id, store.end, await store.stats()) == (before[0], before[1], before[3])
            assert [record.sequence for record in await whole_log(store)] == [one.sequence for one in before[2]]
            found = (await store.get_items([FULL_ITEM.item_id]))[FULL_ITEM.item_id]
            assert found.created_at == items[FULL_ITEM.item_id].created_at
            appended = await store.append_events([event(1), event(2)])
            assert appended.stored == (False, True)
            assert appended.sequence > before[1]

    async def test_two_stores_have_two_identities(self, tmp_path: Path) -> None:
        """A cursor of one is none of the other."""
        async with self.opened(tmp_path / "a") as one, self.opened(tmp_path / "b") as two:
            assert one.log_id != two.log_id

    async def test_reading_in_pieces_is_reading_at_once(self, store: Any) -> None:
        """Any piece size, with and without excluded types; the position passes what is excluded."""
        kinds = list(EventType)
        await store.append_events([event(n, kind=kinds[n % 10]) for n in range(57)])
        await store.upsert_items([Item(f"i{n}") for n in range(5)])
        await store.delete_item("i3")
        at_once = await whole_log(store)
        assert len(at_once) == 57 + 5 + 1
        for limit in (1, 2, 7, 62, 63, 64):
            assert [one.sequence for one in await whole_log(store, limit)] == [one.sequence for one in at_once]
        exclude = frozenset({EventType.IMPRESSION, EventType.VIEW})
        kept = [one.sequence for one in at_once if not (isinstance(one.body, Event) and one.body.type in exclude)]
        for limit in (1, 10, 1000):
            assert [one.sequence for one in await whole_log(store, limit, exclude)] == kept
        await store.append_events([event(100, kind=EventType.VIEW)])
        stretch = await store.read(at_once[-1].sequence, 10, exclude)
        assert (stretch.records, stretch.position, stretch.at_end) == ([], store.end, True)

    async def test_a_stretch_of_large_records_is_cut(self, store: Any) -> None:
        """A message must not grow with the records in it."""
        await store.upsert_items([Item(f"i{n:03}", text="x" * 60_000) for n in range(200)])
        stretch = await store.read(0, 1000, NOTHING)
        assert 0 < len(stretch.records) < 200
        assert not stretch.at_end
        assert len(await whole_log(store)) == 200
        page, more = await store.list_items("", 1000)
        assert 0 < len(page) < 200
        assert more

    async def test_a_waiter_wakes_when_the_log_grows(self, store: Any) -> None:
        """And not before."""
        await store.append_events([event(1)])
        await store.wait_beyond(0)
        waiter = asyncio.ensure_future(store.wait_beyond(store.end))
        await asyncio.sleep(0.05)
        assert not waiter.done()
        await store.append_events([event(2)])
        await asyncio.wait_for(waiter, 5)

    async def test_concurrent_writers_lose_nothing(self, store: Any) -> None:
        """Each batch is whole and in order; the same event of two writers is stored once."""
        batches = [[event(n, user=f"w{w}") for n in range(w * 10, w * 10 + 10)] for w in range(30)]
        results = await asyncio.gather(*(store.append_events(batch) for batch in [*batches, *batches]))
        assert sum(sum(one.stored) for one in results) == 300
        records = await whole_log(store)
        assert len({record.body.event_id for record in records}) == len(records) == 300  # type: ignore[union-attr] # events only
        sequences = [record.sequence for record in records]
        assert sequences == sorted(set(sequences))
        for batch in batches:
            ids = [one.event_id for one in batch]
            first = next(i for i, record in enumerate(records) if record.body == batch[0])
            assert [record.body.event_id for record in records[first : first + 10]] == ids  # type: ignore[union-attr] # events only

    async def test_items_come_back_as_they_were_written(self, store: Any) -> None:
        """All kinds of attributes, vectors, times."""
        await store.upsert_items([FULL_ITEM])
        found = (await store.get_items([FULL_ITEM.item_id, "other"]))[FULL_ITEM.item_id]
        for name in ("item_id", "title", "text", "categories", "attributes", "available_from", "available_until"):
            assert getattr(found, name) == getattr(FULL_ITEM, name)
        np.testing.assert_array_equal(found.vectors["image"], FULL_ITEM.vectors["image"])
        assert found.created_at == found.updated_at
        (record,) = await whole_log(store)
        assert isinstance(record.body, Item)
        assert (record.body.title, record.body.created_at) == (found.title, found.created_at)

    async def test_replacing_an_item_keeps_its_creation(self, store: Any) -> None:
        """The whole item is replaced; what the caller says of the server's times is ignored."""
        await store.upsert_items([FULL_ITEM])
        first = (await store.get_items([FULL_ITEM.item_id]))[FULL_ITEM.item_id]
        bare = Item(FULL_ITEM.item_id, title="new", created_at=START, updated_at=START)
        assert (await store.upsert_items([bare])).stored == (True,)
        second = (await store.get_items([FULL_ITEM.item_id]))[FULL_ITEM.item_id]
        assert (second.title, second.text, second.categories) == ("new", "", ())
        assert second.created_at == first.created_at
        assert second.updated_at > first.updated_at

    async def test_an_identical_item_is_not_written_again(self, store: Any) -> None:
        """Also within one batch; no record, no new time."""
        upserted = await store.upsert_items([FULL_ITEM, Item("b"), FULL_ITEM])
        assert upserted.stored == (True, True, False)
        before = await store.get_items([FULL_ITEM.item_id])
        again = await store.upsert_items([replace(FULL_ITEM, updated_at=START)])
        assert (again.stored, again.sequence) == ((False,), upserted.sequence)
        assert len(await whole_log(store)) == 2
        after = await store.get_items([FULL_ITEM.item_id])
        assert after[FULL_ITEM.item_id].updated_at == before[FULL_ITEM.item_id].updated_at

    async def test_a_deleted_item_is_gone_and_its_events_stay(self, store: Any) -> None:
        """Deleting twice is not an error; it can be written again."""
        await store.append_events([event(1, item="a")])
        await store.upsert_items([Item("a", title="t")])
        deleted = await store.delete_item("a")
        assert (deleted.existed, deleted.sequence) == (True, store.end)
        assert await store.get_items(["a"]) == {}
        again = await store.delete_item("a")
        assert (again.existed, again.sequence) == (False, deleted.sequence)
        assert (await whole_log(store))[-1].body == ItemDeleted("a")
        assert (await history(store, "u1")).total == 1
        assert (await store.upsert_items([Item("a", title="t")])).stored == (True,)

    async def test_pages_together_are_the_catalogue(self, store: Any) -> None:
        """In byte order of UTF-8, any page size."""
        ids = ["10", "2", "Z", "a", "é", "物", "🎬", "a b", "a/b"]
        await store.upsert_items([Item(one) for one in ids])
        wanted = sorted(ids, key=str.encode)
        for size in (1, 2, 4, 9, 100):
            seen: list[str] = []
            more = True
            while more:
                page, more = await store.list_items(seen[-1] if seen else "", size)
                assert len(page) <= size
                seen += [item.item_id for item in page]
            assert seen == wanted

    async def test_history_is_newest_first(self, store: Any) -> None:
        """By timestamp, then item id, descending, whatever the order of writing; only the user's own."""
        same = replace(event(5), event_id="same", item_id="i9")
        await store.append_events([event(3), event(5), event(1), same, event(4, user="u2"), event(2)])
        found = await history(store, "u1")
        assert [one.item_id for one in found.events] == ["i9", "i5", "i3", "i2", "i1"]
        assert (found.total, found.sequence) == (5, store.end)
        cut = await history(store, "u1", limit=2)
        assert ([one.item_id for one in cut.events], cut.total) == (["i9", "i5"], 5)

    async def test_a_history_that_has_not_changed_may_be_said_to_be_unchanged(self, store: Any) -> None:
        """Never after a write or an erasure of this user; others' writes and impressions may leave it unchanged."""

        async def unchanged(user: str, known: int, **asked: Any) -> bool:
            types = asked.get("types", ALL_BUT_IMPRESSIONS)
            found = await store.user_history(user, limit=100, types=types, before=None, known=known)
            full = await history(store, user, **asked)
            assert found.unchanged or found.events == full.events
            assert found.sequence <= store.end
            return bool(found.unchanged)

        await store.append_events([event(1), event(2, "u2")])
        known = (await history(store, "u1")).sequence
        await store.append_events([event(3, "u2")])
        seen = [await unchanged("u1", known), await unchanged("u2", known)]
        assert seen[1] is False
        shown = event(4, kind=EventType.IMPRESSION)
        await store.append_events([shown])
        assert not await unchanged("u1", known, types=frozenset(EventType))
        await store.append_events([event(5)])
        assert not await unchanged("u1", known)
        known = (await history(store, "u1")).sequence
        await store.forget_user("u1")
        assert not await unchanged("u1", known)

    async def test_history_by_type_and_time(self, store: Any) -> None:
        """`before` is exclusive; impressions only when asked for."""
        kinds = list(EventType)
        await store.append_events([event(n, kind=kinds[n]) for n in range(10)])
        assert (await history(store, "u1")).total == 9
        both = frozenset({EventType.IMPRESSION, EventType.LIKE})
        found = await history(store, "u1", types=both)
        assert [one.type for one in found.events] == [EventType.LIKE, EventType.IMPRESSION]
        assert (await history(store, "u1", types=frozenset({EventType.IMPRESSION}))).total == 1
        earlier = await history(store, "u1", before=START + timedelta(seconds=4))
        assert ([one.item_id for one in earlier.events], earlier.total) == (["i3", "i2", "i1"], 3)

    async def test_stats_follow_every_write(self, store: Any) -> None:
        """Unknown items become known with the catalogue and unknown without."""
        appended = await store.append_events(
            [event(1, item="a"), event(2, item="a"), event(3, "u2", item="b", kind=EventType.LIKE)]
        )
        assert appended.unknown_items == 3
        await store.upsert_items([Item("a"), Item("c")])
        assert (await store.append_events([event(4, item="a"), event(5, item="z")])).unknown_items == 1
        stats = await store.stats()
        assert dict(stats.events_by_type) == {EventType.CLICK: 4, EventType.LIKE: 1}
        assert (stats.users, stats.items, stats.unknown_items) == (2, 2, 2)
        assert (stats.oldest, stats.newest) == (event(1).timestamp, event(5).timestamp)
        assert stats.sequence == store.end
        await store.delete_item("a")
        assert (await store.stats()).unknown_items == 3

    async def test_a_forgotten_user_is_gone(self, store: Any) -> None:
        """From log, history and counts; a record tells the followers; the ids may be used again."""
        await store.append_events([event(n) for n in range(5)] + [event(9, "u2", item="i1")])
        await store.append_events([event(10, kind=EventType.IMPRESSION)])
        erasure = await store.forget_user("u1")
        assert (erasure.events_erased, erasure.sequence) == (6, store.end)
        assert erasure.receipt_id
        assert [record.body for record in await whole_log(store)] == [event(9, "u2", item="i1"), UserForgotten("u1")]
        assert (await history(store, "u1", types=frozenset(EventType))).total == 0
        stats = await store.stats()
        assert dict(stats.events_by_type) == {EventType.CLICK: 1}
        assert (stats.users, stats.unknown_items) == (1, 1)
        assert (stats.oldest, stats.newest) == (event(9).timestamp, event(9).timestamp)
        assert (await store.append_events([event(1)])).stored == (True,)

    async def test_forgetting_an_unknown_user_is_recorded(self, store: Any) -> None:
        """Followers may know more than the log still holds."""
        first, second = await store.forget_user("nobody"), await store.forget_user("nobody")
        assert (first.events_erased, second.events_erased) == (0, 0)
        assert first.receipt_id != second.receipt_id
        assert [record.body for record in await whole_log(store)] == [UserForgotten("nobody")] * 2
