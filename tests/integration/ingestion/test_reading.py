from __future__ import annotations

import asyncio

import grpc
import pytest
from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb

from services.ingestion.adapters.sqlite_store import SqliteStore
from services.ingestion.reading.cursors import encode_cursor
from shared.rpc.feed import LogFeed, read_snapshot
from shared.rpc.status import error_info

TYPES = event_pb2.EventType.values()[1:]


def event(number, user="u", **changes):
    values = {"event_id": f"e{number}", "user_id": user, "item_id": f"i{number % 7}", "type": TYPES[number % 10]}
    message = event_pb2.Event(**{**values, "value": 1.0, "text": "t", **changes})
    message.timestamp.FromSeconds(1_000_000_000 + number)
    return message


async def write(stub, numbers, **changes):
    return await stub.WriteEvents(pb.WriteEventsRequest(events=[event(n, **changes) for n in numbers]))


async def read(stub, **asked):
    return [message async for message in stub.ReadEvents(pb.ReadEventsRequest(**asked))]


def ids(messages):
    return [record.event.event_id for message in messages for record in message.records]


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), error_info(caught.value)


async def test_reading_in_pieces_is_reading_at_once(stub):
    await write(stub, range(53))
    await stub.UpsertItems(pb.UpsertItemsRequest(items=[item_pb2.Item(item_id="i1")]))
    await stub.DeleteItem(pb.DeleteItemRequest(item_id="i1"))
    (whole,) = await read(stub)
    assert whole.caught_up
    assert [record.WhichOneof("record") for record in whole.records][-2:] == ["item_upserted", "item_deleted"]
    for size in (1, 4, 54, 55, 5000):
        pieces = await read(stub, batch_size=size)
        assert [record for piece in pieces for record in piece.records] == list(whole.records)
        assert [piece.caught_up for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        for piece in pieces:
            rest = await read(stub, cursor=piece.cursor)
            begin = piece.records[-1].sequence
            assert [record for one in rest for record in one.records] == [
                record for record in whole.records if record.sequence > begin
            ]


async def test_excluded_types_are_left_out_and_passed(stub):
    written = await write(stub, range(20))
    messages = await read(stub, exclude_types=["EVENT_TYPE_IMPRESSION", "EVENT_TYPE_PLAY"], batch_size=3)
    assert ids(messages) == [f"e{n}" for n in range(20) if n % 10 not in {0, 9}]
    assert messages[-1].cursor == written.cursor


async def test_an_empty_log_is_one_message(stub):
    (message,) = await read(stub)
    assert (len(message.records), message.caught_up, bool(message.cursor)) == (0, True, True)


async def test_a_follower_sees_writes_as_they_come(stub):
    await write(stub, [1])
    call = stub.ReadEvents(pb.ReadEventsRequest(follow=True))
    first = await call.read()
    assert (ids([first]), first.caught_up) == (["e1"], True)
    for number in range(2, 6):
        written = await write(stub, [number])
        message = await asyncio.wait_for(call.read(), 5)
        assert (ids([message]), message.cursor, message.caught_up) == ([f"e{number}"], written.cursor, True)
    call.cancel()


async def test_draining_ends_followers_cleanly_and_feeds_by_name(serving):
    async with serving(grace_s=60) as (service, stub):
        follower = stub.ReadEvents(pb.ReadEventsRequest(follow=True))
        await follower.read()
        feed = stub.StreamEvents()
        await feed.write(pb.StreamEventsRequest(batch_id=1, events=[event(1)]))
        assert (await feed.read()).batch_id == 1
        assert ids([await follower.read()]) == ["e1"]
        service.lifecycle.stopping.set()
        assert await asyncio.wait_for(follower.read(), 5) is grpc.aio.EOF
        assert await follower.code() is grpc.StatusCode.OK
        assert await asyncio.wait_for(feed.code(), 5) is grpc.StatusCode.UNAVAILABLE


async def test_a_follower_that_does_not_read_makes_the_log_wait(serving, monkeypatch):
    reads = []
    read_log = SqliteStore.read

    async def counted(self, after, limit, exclude):
        reads.append(after)
        return await read_log(self, after, limit, exclude)

    monkeypatch.setattr(SqliteStore, "read", counted)
    async with serving() as (_, stub):
        for start in range(0, 1000, 500):
            await write(stub, range(start, start + 500), text="x" * 16_000)
        call = stub.ReadEvents(pb.ReadEventsRequest(follow=True, batch_size=5))
        first = await call.read()
        await asyncio.sleep(0.5)
        # 200 batches of 80 kB wait; what flow control lets through is a few megabytes at most.
        print("READS", len(reads))
        assert len(reads) < 150
        seen = ids([first])
        while len(seen) < 1000:
            seen += ids([await call.read()])
        assert seen == [f"e{n}" for n in range(1000)]
        call.cancel()


async def test_cursors_are_checked(stub, tmp_path):
    await write(stub, [1])
    other = SqliteStore(tmp_path / "other.db")
    await other.open()
    foreign = encode_cursor(other.log_id, 0)
    await other.close()
    code, info = await refused(stub.ReadEvents(pb.ReadEventsRequest(cursor=foreign)).read())
    assert (code, info.reason) == (grpc.StatusCode.ABORTED, "STALE_CURSOR")
    code, info = await refused(stub.ReadEvents(pb.ReadEventsRequest(cursor="rubbish")).read())
    assert (code, info.reason, info.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "cursor")


async def test_history_by_limit_type_and_time(stub):
    await write(stub, range(20))
    await write(stub, [100], user="other")
    history = await stub.GetUserHistory(pb.GetUserHistoryRequest(user_id="u"))
    assert [one.event_id for one in history.events] == [f"e{n}" for n in range(19, -1, -1) if n % 10]
    assert history.total == 18
    assert history.events[0] == event(19)
    cut = await stub.GetUserHistory(pb.GetUserHistoryRequest(user_id="u", limit=3))
    assert ([one.event_id for one in cut.events], cut.total) == (["e19", "e18", "e17"], 18)
    request = pb.GetUserHistoryRequest(user_id="u", types=["EVENT_TYPE_IMPRESSION", "EVENT_TYPE_LIKE"])
    request.as_of.FromSeconds(1_000_000_000 + 15)
    chosen = await stub.GetUserHistory(request)
    assert [one.event_id for one in chosen.events] == ["e10", "e5", "e0"]
    (whole,) = await read(stub)
    assert (history.sequence, history.cursor) == (whole.records[-1].sequence, whole.cursor)
    nobody = await stub.GetUserHistory(pb.GetUserHistoryRequest(user_id="nobody"))
    assert (len(nobody.events), nobody.total, nobody.sequence) == (0, 0, history.sequence)


async def test_a_known_history_is_not_sent_again_until_the_user_does_something(stub):
    await write(stub, [1, 2])
    first = await stub.GetUserHistory(pb.GetUserHistoryRequest(user_id="u"))
    asked = pb.GetUserHistoryRequest(user_id="u", known_cursor=first.cursor)
    await write(stub, [3], user="other")
    again = await stub.GetUserHistory(asked)
    assert (again.unchanged, list(again.events)) == (True, [])
    await write(stub, [4])
    changed = await stub.GetUserHistory(asked)
    assert (changed.unchanged, [one.event_id for one in changed.events]) == (False, ["e4", "e2", "e1"])


async def test_stats_say_what_is_stored(stub):
    empty = await stub.GetStats(pb.GetStatsRequest())
    assert (empty.events, empty.engine, empty.HasField("oldest_event")) == (0, "sqlite", False)
    await write(stub, range(20))
    await stub.UpsertItems(pb.UpsertItemsRequest(items=[item_pb2.Item(item_id="i1"), item_pb2.Item(item_id="new")]))
    stats = await stub.GetStats(pb.GetStatsRequest())
    assert (stats.events, stats.users, stats.items, stats.unknown_items) == (20, 1, 2, 6)
    assert dict(stats.events_by_type) == {event_pb2.EventType.Name(kind): 2 for kind in TYPES}
    assert (stats.oldest_event, stats.newest_event) == (event(0).timestamp, event(19).timestamp)
    assert [timing.stage for timing in stats.served_by.timings] == ["read"]
    assert stats.served_by.request_id


HISTORY = "GetUserHistory"
BAD_REQUESTS = {
    "page size below": ("ListItems", pb.ListItemsRequest(page_size=-1), "page_size", "-1", "INVALID_FIELD"),
    "page size over": ("ListItems", pb.ListItemsRequest(page_size=1001), "page_size", "1001", "LIMIT_EXCEEDED"),
    "page token": ("ListItems", pb.ListItemsRequest(page_token="x"), "page_token", "x", "INVALID_FIELD"),  # noqa: S106 (not a password)
    "no item": ("DeleteItem", pb.DeleteItemRequest(), "item_id", "", "INVALID_FIELD"),
    "long item": ("DeleteItem", pb.DeleteItemRequest(item_id="x" * 257), "item_id", "x", "LIMIT_EXCEEDED"),
    "empty item id": ("GetItems", pb.GetItemsRequest(item_ids=["a", ""]), "item_ids[1]", "", "INVALID_FIELD"),
    "no user": (HISTORY, pb.GetUserHistoryRequest(), "user_id", "", "INVALID_FIELD"),
    "negative limit": (HISTORY, pb.GetUserHistoryRequest(user_id="u", limit=-1), "limit", "-1", "INVALID_FIELD"),
    "limit over": (HISTORY, pb.GetUserHistoryRequest(user_id="u", limit=1001), "limit", "1001", "LIMIT_EXCEEDED"),
    "no type": (HISTORY, pb.GetUserHistoryRequest(user_id="u", types=[4, 0]), "types[1]", "0", "INVALID_FIELD"),
    "known": (HISTORY, pb.GetUserHistoryRequest(user_id="u", known_cursor="?"), "known_cursor", "?", "INVALID_FIELD"),
    "as of": (HISTORY, pb.GetUserHistoryRequest(user_id="u", as_of={"nanos": -1}), "as_of", "0", "INVALID_FIELD"),
    "forget nobody": ("ForgetUser", pb.ForgetUserRequest(), "user_id", "", "INVALID_FIELD"),
    "read size below": ("ReadEvents", pb.ReadEventsRequest(batch_size=-1), "batch_size", "-1", "INVALID_FIELD"),
    "read size over": ("ReadEvents", pb.ReadEventsRequest(batch_size=5001), "batch_size", "5001", "LIMIT_EXCEEDED"),
    "read type": ("ReadEvents", pb.ReadEventsRequest(exclude_types=[0]), "exclude_types[0]", "0", "INVALID_FIELD"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_a_bad_request_is_refused_by_name_value_and_limit(stub, name):
    method, request, field, value, reason = BAD_REQUESTS[name]
    call = getattr(stub, method)(request)
    code, info = await refused(call.read() if method == "ReadEvents" else call)
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert info.metadata["field"] == field
    assert info.metadata["value"].startswith(value)
    assert info.metadata["limit"]
    assert info.metadata["hint"]


async def test_the_feed_of_the_other_services_reads_this_log(serving):
    async with serving() as (service, stub):
        await write(stub, range(10))
        await stub.UpsertItems(pb.UpsertItemsRequest(items=[item_pb2.Item(item_id="a"), item_pb2.Item(item_id="b")]))
        await stub.DeleteItem(pb.DeleteItemRequest(item_id="a"))
        snapshot = await read_snapshot(LogFeed(service.channel))
        assert ([one.event_id for one in snapshot.events], list(snapshot.items)) == (
            [f"e{n}" for n in range(10)],
            ["b"],
        )
        assert snapshot.sequence == (await stub.GetUserHistory(pb.GetUserHistoryRequest(user_id="u"))).sequence
        assert (await read_snapshot(LogFeed(service.channel), up_to=4)).sequence == 4
