from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from fusionrec.common.v1 import error_pb2, event_pb2, item_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb

from shared.rpc.status import error_info
from shared.telemetry import metrics

ACCEPTED, DUPLICATE, REJECTED = 1, 2, 3


def event(**changes):
    values = {"event_id": "e", "user_id": "u", "item_id": "i", "type": "EVENT_TYPE_CLICK", **changes}
    return event_pb2.Event(**values)


def statuses(response):
    return [result.status for result in response.results]


def at(time):
    message = event_pb2.Event()
    message.timestamp.FromDatetime(time)
    return message.timestamp


async def test_every_event_is_answered(stub):
    bad = event(user_id="")
    response = await stub.WriteEvents(pb.WriteEventsRequest(events=[event(), bad, event(), event(event_id="e2")]))
    assert statuses(response) == [ACCEPTED, REJECTED, DUPLICATE, ACCEPTED]
    assert [result.id for result in response.results] == ["e", "", "e", "e2"]
    assert response.unknown_items == 2
    again = await stub.WriteEvents(pb.WriteEventsRequest(events=[event()]))
    assert (statuses(again), again.cursor) == ([DUPLICATE], response.cursor)


NOW = datetime.now(UTC)
OLD = datetime(1989, 12, 31, tzinfo=UTC)
TIME_LIMIT = "1990-01-01..now + 1 day"
BAD_EVENTS = {
    "empty user": ({"user_id": ""}, "user_id", "", "1..256 bytes", "INVALID_FIELD"),
    "empty item": ({"item_id": ""}, "item_id", "", "1..256 bytes", "INVALID_FIELD"),
    "long user": ({"user_id": "x" * 257}, "user_id", "xxx", "1..256 bytes", "LIMIT_EXCEEDED"),
    "long item in bytes": ({"item_id": "ä" * 129}, "item_id", "\\xe4", "1..256 bytes", "LIMIT_EXCEEDED"),
    "long event id": ({"event_id": "x" * 257}, "event_id", "xxx", "1..256 bytes", "LIMIT_EXCEEDED"),
    "long session": ({"session_id": "x" * 257}, "session_id", "xxx", "1..256 bytes", "LIMIT_EXCEEDED"),
    "control character": ({"user_id": "a\nb"}, "user_id", "a\\nb", "no control characters", "INVALID_FIELD"),
    "no type": ({"type": 0}, "type", "0", "a set EventType", "INVALID_FIELD"),
    "unknown type": ({"type": 99}, "type", "99", "a set EventType", "INVALID_FIELD"),
    "rating without a value": ({"type": "EVENT_TYPE_RATING"}, "value", "", "a finite number", "INVALID_FIELD"),
    "NaN rating": ({"type": "EVENT_TYPE_RATING", "value": math.nan}, "value", "nan", "-1e+06..1e+06", "INVALID_FIELD"),
    "infinite rating": (
        {"type": "EVENT_TYPE_RATING", "value": math.inf}, "value", "inf", "-1e+06..1e+06", "INVALID_FIELD",
    ),
    "huge value": ({"value": 1e7}, "value", "10000000.0", "-1e+06..1e+06", "INVALID_FIELD"),
    "played too much": ({"type": "EVENT_TYPE_PLAY", "value": 1.5}, "value", "1.5", "0..1", "INVALID_FIELD"),
    "far future": ({"timestamp": at(NOW + timedelta(days=2))}, "timestamp", "20", TIME_LIMIT, "INVALID_FIELD"),
    "before 1990": ({"timestamp": at(OLD)}, "timestamp", "1989", TIME_LIMIT, "INVALID_FIELD"),
    "milliseconds as seconds": (
        {"timestamp": {"seconds": 1_600_000_000_000}}, "timestamp", "1600000000000", "a valid google", "INVALID_FIELD",
    ),
    "review without a text": ({"type": "EVENT_TYPE_REVIEW"}, "text", "", "1..16384 bytes", "INVALID_FIELD"),
    "long text": ({"type": "EVENT_TYPE_REVIEW", "text": "x" * 16385}, "text", "xxx", "16384 bytes", "LIMIT_EXCEEDED"),
    "negative position": ({"position": -1}, "position", "-1", "0..10000", "INVALID_FIELD"),
    "position over the limit": ({"position": 10001}, "position", "10001", "0..10000", "LIMIT_EXCEEDED"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_EVENTS)
async def test_a_bad_event_is_rejected_by_name_value_and_limit(stub, name):
    changes, field, value, limit, reason = BAD_EVENTS[name]
    request = pb.WriteEventsRequest(events=[event(event_id="good"), event(**changes)])
    good, bad = (await stub.WriteEvents(request)).results
    assert (good.status, bad.status) == (ACCEPTED, REJECTED)
    assert bad.violation.field == f"events[1].{field}"
    assert bad.violation.value.startswith(value)
    assert len(bad.violation.value) <= 64
    assert bad.violation.limit.startswith(limit)
    assert bad.violation.hint
    assert error_pb2.ErrorReason.Name(bad.violation.reason) == f"ERROR_REASON_{reason}"
    stats = await stub.GetStats(pb.GetStatsRequest())
    assert (stats.events, stats.rejected_events) == (1, 1)


async def test_values_at_their_limits_are_accepted(stub):
    events = [
        event(event_id="x" * 256, user_id="ä" * 128, item_id="x" * 256),
        event(event_id="r", type="EVENT_TYPE_REVIEW", text="ä" * 8192, value=1e6),
        event(event_id="t", timestamp=at(NOW + timedelta(hours=23))),
        event(event_id="o", timestamp=at(datetime(1990, 1, 1, tzinfo=UTC))),
        event(event_id="p", type="EVENT_TYPE_PLAY", value=1.0, position=10_000),
    ]
    assert statuses(await stub.WriteEvents(pb.WriteEventsRequest(events=events))) == [ACCEPTED] * 5


@pytest.mark.parametrize(("count", "reason"), [(0, "INVALID_FIELD"), (1001, "LIMIT_EXCEEDED")])
async def test_the_size_of_a_batch_is_limited(stub, count, reason):
    calls = [
        (stub.WriteEvents, pb.WriteEventsRequest(events=[event(event_id=str(n)) for n in range(count)]), "events"),
        (stub.UpsertItems, pb.UpsertItemsRequest(items=[item_pb2.Item(item_id=str(n)) for n in range(count)]), "items"),
        (stub.GetItems, pb.GetItemsRequest(item_ids=[str(n) for n in range(count)]), "item_ids"),
    ]
    for method, request, field in calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        info = error_info(caught.value)
        assert (info.reason, info.metadata["field"]) == (reason, field)
        assert (info.metadata["value"], info.metadata["limit"]) == (f"{count} elements", "1..1000 elements")
    assert (await stub.GetStats(pb.GetStatsRequest())).events == 0


async def test_a_full_batch_is_accepted(stub):
    request = pb.WriteEventsRequest(events=[event(event_id=str(n)) for n in range(1000)])
    assert statuses(await stub.WriteEvents(request)) == [ACCEPTED] * 1000


async def test_the_same_line_of_a_file_is_stored_once(stub):
    line = event(event_id="", type="EVENT_TYPE_RATING", value=4.0, timestamp=at(datetime(2001, 1, 1, tzinfo=UTC)))
    first = await stub.WriteEvents(pb.WriteEventsRequest(events=[line]))
    second = await stub.WriteEvents(pb.WriteEventsRequest(events=[line]))
    assert (statuses(first), statuses(second)) == ([ACCEPTED], [DUPLICATE])
    assert first.results[0].id == second.results[0].id != ""
    click = event(event_id="")
    assert statuses(await stub.WriteEvents(pb.WriteEventsRequest(events=[click, click]))) == [ACCEPTED] * 2


async def test_what_was_written_is_there_after_a_restart(serving):
    async with serving() as (_, stub):
        written = await stub.WriteEvents(pb.WriteEventsRequest(events=[event()]))
    async with serving() as (_, stub):
        again = await stub.WriteEvents(pb.WriteEventsRequest(events=[event(), event(event_id="e2")]))
        assert statuses(again) == [DUPLICATE, ACCEPTED]
        assert again.cursor != written.cursor
        messages = [one async for one in stub.ReadEvents(pb.ReadEventsRequest(cursor=written.cursor))]
        assert [record.event.event_id for one in messages for record in one.records] == ["e2"]


async def test_batches_of_a_feed_are_acknowledged_in_order(stub):
    requests = [
        pb.StreamEventsRequest(batch_id=n, events=[event(event_id=f"{n}"), event(event_id="same")]) for n in range(5)
    ]
    answers = [one async for one in stub.StreamEvents(iter(requests))]
    assert [one.batch_id for one in answers] == [0, 1, 2, 3, 4]
    assert [statuses(one) for one in answers] == [[ACCEPTED, ACCEPTED]] + [[ACCEPTED, DUPLICATE]] * 4
    assert len({one.cursor for one in answers}) == 5
    assert answers[-1].cursor == (await stub.GetStats(pb.GetStatsRequest())).cursor


async def test_a_feed_ends_at_a_batch_over_the_limit_and_keeps_what_was_acknowledged(stub):
    requests = [pb.StreamEventsRequest(batch_id=1, events=[event()]), pb.StreamEventsRequest(batch_id=2)]
    answers = []

    async def collect():
        async for answer in stub.StreamEvents(iter(requests)):
            answers.append(answer.batch_id)  # noqa: PERF401 (what came before the error counts)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert answers == [1]


async def test_a_forgotten_user_gets_a_receipt(stub):
    await stub.WriteEvents(pb.WriteEventsRequest(events=[event(), event(event_id="o", user_id="other")]))
    receipt = await stub.ForgetUser(pb.ForgetUserRequest(user_id="u"))
    assert receipt.receipt_id
    assert receipt.events_erased == 1
    messages = [one async for one in stub.ReadEvents(pb.ReadEventsRequest())]
    records = [record for one in messages for record in one.records]
    assert [record.WhichOneof("record") for record in records] == ["event", "user_forgotten"]
    assert records[1].user_forgotten == "u"
    assert messages[-1].cursor == receipt.cursor
    assert (await stub.GetUserHistory(pb.GetUserHistoryRequest(user_id="u"))).total == 0


async def test_writes_are_counted(stub):
    def counts():
        return [
            counter.labels(status)._value.get()
            for counter in (metrics.EVENTS_WRITTEN, metrics.ITEMS_WRITTEN)
            for status in ("accepted", "duplicate", "rejected")
        ]

    before = counts()
    await stub.WriteEvents(pb.WriteEventsRequest(events=[event(), event(), event(item_id="")]))
    item = item_pb2.Item(item_id="a")
    await stub.UpsertItems(pb.UpsertItemsRequest(items=[item, item, item_pb2.Item()]))
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [1, 1, 1, 1, 1, 1]
