"""What does not fit the contract is refused by name; what is just within it is not."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from fusionrec.common.v1 import event_pb2, item_pb2, vector_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from shared.errors import InvalidField, LimitExceeded
from shared.rpc import convert

NOW = datetime.now(UTC)


@pytest.mark.parametrize(("seconds", "nanos"), [(2**62, 0), (-(2**62), 0), (0, -1), (0, 2_000_000_000)])
def test_impossible_timestamps_are_refused(seconds, nanos):
    with pytest.raises(InvalidField) as caught:
        convert.decode_time(Timestamp(seconds=seconds, nanos=nanos), "event.timestamp")
    assert caught.value.violation.field == "event.timestamp"


def a_event(**changes) -> event_pb2.Event:
    fields = {"user_id": "u", "item_id": "i", "type": event_pb2.EVENT_TYPE_CLICK, **changes}
    return event_pb2.Event(**fields)


def at(time: datetime) -> Timestamp:
    return convert.encode_time(time)


INVALID_EVENTS = {
    "user_id": [({"user_id": ""}, InvalidField), ({"user_id": "u" * 257}, LimitExceeded)],
    "item_id": [({"item_id": ""}, InvalidField), ({"item_id": "é" * 129}, LimitExceeded)],
    "event_id": [({"event_id": "e" * 257}, LimitExceeded), ({"event_id": "a\nb"}, InvalidField)],
    "session_id": [({"session_id": "s" * 257}, LimitExceeded)],
    "attribution_token": [({"attribution_token": "s" * 257}, LimitExceeded)],
    "type": [({"type": 0}, InvalidField), ({"type": 99}, InvalidField)],
    "value": [
        ({"type": event_pb2.EVENT_TYPE_RATING}, InvalidField),
        ({"type": event_pb2.EVENT_TYPE_RATING, "value": math.nan}, InvalidField),
        ({"value": math.inf}, InvalidField),
        ({"value": 1.1e6}, InvalidField),
        ({"type": event_pb2.EVENT_TYPE_PLAY, "value": 1.5}, InvalidField),
        ({"type": event_pb2.EVENT_TYPE_PLAY, "value": -0.1}, InvalidField),
    ],
    "timestamp": [
        ({"timestamp": at(datetime(1989, 12, 31, tzinfo=UTC))}, InvalidField),
        ({"timestamp": at(NOW + timedelta(days=2))}, InvalidField),
        ({"timestamp": Timestamp(seconds=2**60)}, InvalidField),
    ],
    "text": [
        ({"type": event_pb2.EVENT_TYPE_REVIEW}, InvalidField),
        ({"type": event_pb2.EVENT_TYPE_REVIEW, "text": " \n"}, InvalidField),
        ({"text": "x" * 16_385}, LimitExceeded),
        ({"text": "é" * 8_193}, LimitExceeded),
    ],
    "propensity": [({"propensity": 0.0}, InvalidField), ({"propensity": 1.1}, InvalidField)],
    "position": [({"position": -1}, InvalidField), ({"position": 10_001}, LimitExceeded)],
}


@pytest.mark.parametrize(
    ("field", "changes", "kind"),
    [(field, changes, kind) for field, cases in INVALID_EVENTS.items() for changes, kind in cases],
)
def test_a_bad_event_names_its_field(field, changes, kind):
    with pytest.raises(kind) as caught:
        convert.decode_event(a_event(**changes), "events[3]", arrived_at=NOW)
    violation = caught.value.violation
    assert type(caught.value) is kind
    assert violation.field == f"events[3].{field}"
    assert violation.limit
    assert violation.hint
    assert len(violation.value) <= 64


@pytest.mark.parametrize(
    "changes",
    [
        {"user_id": "u" * 256, "item_id": "é" * 128, "event_id": "e" * 256, "position": 10_000},
        {"type": event_pb2.EVENT_TYPE_RATING, "value": 0.0},
        {"type": event_pb2.EVENT_TYPE_PLAY, "value": 1.0},
        {"value": -1e6},
        {"text": "é" * 8_192},
        {"timestamp": at(datetime(1990, 1, 1, tzinfo=UTC))},
        {"timestamp": at(NOW + timedelta(hours=23))},
    ],
)
def test_an_event_at_the_limit_is_good(changes):
    convert.decode_event(a_event(**changes), "event", arrived_at=NOW)


def test_an_event_without_a_time_has_that_of_its_arrival():
    assert convert.decode_event(a_event(), "event", arrived_at=NOW).timestamp == NOW


def test_no_value_is_not_the_value_zero():
    assert convert.decode_event(a_event(), "event", arrived_at=NOW).value is None
    assert convert.decode_event(a_event(value=0.0), "event", arrived_at=NOW).value == 0.0


def test_a_history_over_its_limit_is_refused():
    entry = event_pb2.HistoryEvent(item_id="i", type=event_pb2.EVENT_TYPE_CLICK)
    assert len(convert.decode_history(event_pb2.History(events=[entry] * 1_000), "history")) == 1_000
    with pytest.raises(LimitExceeded, match=r"history\.events"):
        convert.decode_history(event_pb2.History(events=[entry] * 1_001), "history")


def test_a_history_entry_is_named_by_its_place():
    entries = [
        event_pb2.HistoryEvent(item_id="i", type=event_pb2.EVENT_TYPE_CLICK),
        event_pb2.HistoryEvent(item_id="i"),
    ]
    with pytest.raises(InvalidField) as caught:
        convert.decode_history(event_pb2.History(events=entries), "history")
    assert caught.value.violation.field == "history.events[1].type"


def floats(*values: float) -> bytes:
    return np.array(values, dtype="<f4").tobytes()


@pytest.mark.parametrize(
    ("message", "kind", "field"),
    [
        (vector_pb2.Vector(dim=0), InvalidField, "v.dim"),
        (vector_pb2.Vector(dim=-1), InvalidField, "v.dim"),
        (vector_pb2.Vector(dim=4_097, data=bytes(4 * 4_097)), LimitExceeded, "v.dim"),
        (vector_pb2.Vector(dim=2, data=bytes(7)), InvalidField, "v.data"),
        (vector_pb2.Vector(dim=1, data=bytes(8)), InvalidField, "v.data"),
        (vector_pb2.Vector(dim=2, data=floats(1, math.nan)), InvalidField, "v.data"),
        (vector_pb2.Vector(dim=2, data=floats(1, -math.inf)), InvalidField, "v.data"),
    ],
)
def test_a_bad_vector_is_refused(message, kind, field):
    with pytest.raises(kind) as caught:
        convert.decode_vector(message, "v")
    assert caught.value.violation.field == field


def an_item(**changes) -> item_pb2.Item:
    return item_pb2.Item(**{"item_id": "i", **changes})


def words(*values: str) -> item_pb2.AttributeValue:
    return item_pb2.AttributeValue(string_list=item_pb2.StringList(values=values))


INVALID_ITEMS = [
    ({"item_id": ""}, "item.item_id"),
    ({"item_id": "i" * 257}, "item.item_id"),
    ({"title": "t" * 1_025}, "item.title"),
    ({"text": "t" * 65_537}, "item.text"),
    ({"categories": ["c"] * 65}, "item.categories"),
    ({"categories": ["c", ""]}, "item.categories[1]"),
    ({"attributes": {str(n): item_pb2.AttributeValue(bool_value=True) for n in range(65)}}, "item.attributes"),
    ({"attributes": {"": item_pb2.AttributeValue(bool_value=True)}}, "item.attributes"),
    ({"attributes": {"n" * 65: item_pb2.AttributeValue(bool_value=True)}}, "item.attributes"),
    ({"attributes": {"year": item_pb2.AttributeValue()}}, "item.attributes['year']"),
    ({"attributes": {"year": item_pb2.AttributeValue(number_value=math.nan)}}, "item.attributes['year']"),
    ({"attributes": {"brand": item_pb2.AttributeValue(string_value="b" * 1_025)}}, "item.attributes['brand']"),
    ({"attributes": {"tags": words(*["t"] * 65)}}, "item.attributes['tags']"),
    ({"attributes": {"tags": words("a", "t" * 257)}}, "item.attributes['tags'][1]"),
    ({"vectors": {str(n): vector_pb2.Vector(dim=1, data=bytes(4)) for n in range(5)}}, "item.vectors"),
    ({"vectors": {"image": vector_pb2.Vector(dim=1)}}, "item.vectors['image'].data"),
    (
        {"available_from": Timestamp(seconds=1_000_000_000), "available_until": Timestamp(seconds=1_000_000_000)},
        "item.available_until",
    ),
    ({"available_from": Timestamp(seconds=2**60)}, "item.available_from"),
]


@pytest.mark.parametrize(
    ("changes", "field"), INVALID_ITEMS, ids=[f"{n}-{case[1]}" for n, case in enumerate(INVALID_ITEMS)]
)
def test_a_bad_item_names_its_field(changes, field):
    with pytest.raises((InvalidField, LimitExceeded)) as caught:
        convert.decode_item(an_item(**changes), "item")
    assert caught.value.violation.field == field


INVALID_FILTERS = [
    (item_pb2.ItemFilter(categories_any=["c"] * 65), "filter.categories_any"),
    (item_pb2.ItemFilter(categories_all=["c"] * 65), "filter.categories_all"),
    (item_pb2.ItemFilter(categories_none=["c"] * 65), "filter.categories_none"),
    (item_pb2.ItemFilter(exclude_item_ids=["c"] * 10_001), "filter.exclude_item_ids"),
    (item_pb2.ItemFilter(attributes=[item_pb2.AttributeRule(name="n", equals=True)] * 17), "filter.attributes"),
    (item_pb2.ItemFilter(attributes=[item_pb2.AttributeRule(equals=True)]), "filter.attributes[0].name"),
    (item_pb2.ItemFilter(attributes=[item_pb2.AttributeRule(name="n")]), "filter.attributes[0]"),
    (
        item_pb2.ItemFilter(attributes=[item_pb2.AttributeRule(name="n", any_of=item_pb2.StringList())]),
        "filter.attributes[0].any_of",
    ),
    (
        item_pb2.ItemFilter(attributes=[item_pb2.AttributeRule(name="n", range=item_pb2.NumberRange(min=math.nan))]),
        "filter.attributes[0].range.min",
    ),
    (
        item_pb2.ItemFilter(attributes=[item_pb2.AttributeRule(name="n", range=item_pb2.NumberRange(min=2, max=1))]),
        "filter.attributes[0].range",
    ),
]


@pytest.mark.parametrize(("message", "field"), INVALID_FILTERS, ids=[case[1] for case in INVALID_FILTERS])
def test_a_bad_filter_names_its_field(message, field):
    with pytest.raises((InvalidField, LimitExceeded)) as caught:
        convert.decode_filter(message, "filter")
    assert caught.value.violation.field == field


def test_vectors_are_decoded_together_as_they_are_one_by_one():
    rows = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    messages = [convert.encode_vector(row) for row in rows]
    together = convert.decode_vectors(messages, 7)
    assert together.dtype == np.float32
    assert together.tolist() == [convert.decode_vector(one, "v").tolist() for one in messages]
    assert convert.decode_vectors([], 0).shape == (0, 0)
    together[0, 0] = 1.0  # it is the caller's own


@pytest.mark.parametrize(
    "wrong", [vector_pb2.Vector(data=b"1234", dim=2), vector_pb2.Vector(data=np.float32([np.nan, 1]).tobytes(), dim=2)]
)
def test_one_wrong_vector_among_many_is_refused(wrong):
    good = convert.encode_vector(np.ones(2, dtype=np.float32))
    with pytest.raises(InvalidField) as caught:
        convert.decode_vectors([good, wrong, good], 2)
    assert caught.value.violation.field == "embeddings.vector.data"
