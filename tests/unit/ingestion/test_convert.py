from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb

from services.ingestion import convert
from services.ingestion.ports import StoreStats, Stretch, UserHistory
from services.ingestion.writing.writer import Outcome, Status, Written
from shared.data.nouns import Event, EventType, Item, ItemDeleted, LogRecord, UserForgotten
from shared.errors import InvalidField, LimitExceeded, Violation
from shared.rpc.convert import encode_event, encode_item
from shared.rpc.feed import decode_record
from shared.testing.ingestion_samples import FULL_EVENT, FULL_ITEM, START, event

LOG = "0123456789abcdef"


def test_the_statuses_are_those_of_the_contract():
    ours = {f"WRITE_STATUS_{status.name}": int(status) for status in Status}
    assert {"WRITE_STATUS_UNSPECIFIED": 0, **ours} == dict(pb.WriteStatus.items())


def test_events_round_trip():
    events = [FULL_EVENT, event(1)]
    assert convert.decode_events([encode_event(one) for one in events]) == events


def test_an_event_without_id_and_time_gets_both():
    message = event_pb2.Event(user_id="u", item_id="i", type=event_pb2.EVENT_TYPE_CLICK)
    first, second = convert.decode_events([message, message])
    assert first.event_id != second.event_id
    assert abs(datetime.now(UTC) - first.timestamp) < timedelta(minutes=1)
    message.timestamp.FromDatetime(START)
    first, second = convert.decode_events([message, message])
    assert first == second
    assert first.event_id


def test_a_bad_element_does_not_fail_its_neighbours():
    good = encode_event(event(1))
    bad = event_pb2.Event(user_id="u", item_id="", type=event_pb2.EVENT_TYPE_CLICK)
    first, second, third = convert.decode_events([good, bad, good])
    assert (first, third) == (event(1), event(1))
    assert isinstance(second, Violation)
    assert second.field == "events[1].item_id"


def test_batches_have_limits():
    for decode, name in ((convert.decode_events, "events"), (convert.decode_items, "items")):
        with pytest.raises(InvalidField, match=name):
            decode([])
        with pytest.raises(LimitExceeded, match="1001 elements"):
            decode([None] * 1001)
    with pytest.raises(LimitExceeded):
        convert.decode_item_ids(["a"] * 1001)


def test_items_round_trip_without_the_servers_times():
    message = encode_item(FULL_ITEM)
    message.created_at.seconds = 10**18  # not even a valid time: ignored all the same
    (item,) = convert.decode_items([message])
    assert (item.created_at, item.updated_at) == (None, None)
    assert item.attributes == FULL_ITEM.attributes
    assert encode_item(item) == encode_item(FULL_ITEM)


def test_a_bad_item_is_a_violation():
    good, bad = convert.decode_items([item_pb2.Item(item_id="a"), item_pb2.Item(item_id="x" * 257)])
    assert good == Item("a")
    assert isinstance(bad, Violation)
    assert (bad.field, bad.limit) == ("items[1].item_id", "1..256 bytes")


@pytest.mark.parametrize("body", [FULL_EVENT, Item("a", title="t"), ItemDeleted("a"), UserForgotten("u")])
def test_records_round_trip(body):
    record = LogRecord(7, START, body)
    assert decode_record(convert.encode_record(record)) == record


def test_outcomes():
    violation = Violation("events[0].value", "nan", "finite", "send a number")
    written = Written([Outcome(Status.ACCEPTED, "a"), Outcome(Status.REJECTED, violation=violation)], 5, 1)
    message = convert.encode_written_events(written, LOG)
    assert [(one.status, one.id) for one in message.results] == [
        (pb.WRITE_STATUS_ACCEPTED, "a"),
        (pb.WRITE_STATUS_REJECTED, ""),
    ]
    assert not message.results[0].HasField("violation")
    assert message.results[1].violation.hint == "send a number"
    assert message.unknown_items == 1
    acknowledgement = convert.encode_acknowledgement(3, written, LOG)
    assert (acknowledgement.batch_id, acknowledgement.cursor) == (3, message.cursor)
    assert list(acknowledgement.results) == list(convert.encode_written_items(written, LOG).results)


def test_stretch_and_history():
    stretch = convert.encode_stretch(Stretch([LogRecord(1, START, event(1))], 9, at_end=True), LOG)
    assert (len(stretch.records), stretch.caught_up, bool(stretch.cursor)) == (1, True, True)
    history = convert.encode_user_history(UserHistory([event(2), event(1)], 7, 9), LOG)
    assert ([one.item_id for one in history.events], history.total, history.sequence) == (["i2", "i1"], 7, 9)
    assert history.cursor == stretch.cursor


def test_history_types():
    assert convert.decode_history_types([]) == frozenset(EventType) - {EventType.IMPRESSION}
    assert convert.decode_history_types([1, 4]) == {EventType.IMPRESSION, EventType.RATING}
    with pytest.raises(InvalidField, match=r"types\[1\]"):
        convert.decode_history_types([1, 0])


def test_stats():
    stats = StoreStats({EventType.CLICK: 2, EventType.LIKE: 1}, 3, 4, 5, START, None, 9)
    message = convert.encode_stats(stats, log_id=LOG, engine="sqlite", rejected=6, stages=[])
    assert dict(message.events_by_type) == {"EVENT_TYPE_CLICK": 2, "EVENT_TYPE_LIKE": 1}
    assert (message.events, message.users, message.items, message.unknown_items, message.rejected_events) == (
        3,
        3,
        4,
        5,
        6,
    )
    assert message.oldest_event.ToDatetime(UTC) == START
    assert not message.HasField("newest_event")


def test_every_field_of_an_event_travels():
    filled = {name for name in Event.__slots__ if getattr(FULL_EVENT, name)}
    assert filled == set(Event.__slots__)
    assert {field.name for field, _ in encode_event(FULL_EVENT).ListFields()} == {
        field.name for field in event_pb2.Event.DESCRIPTOR.fields
    }
