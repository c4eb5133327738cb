"""Round trips of the shared nouns: what goes over the wire comes back as it went."""

from __future__ import annotations

import contextvars
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.data import limits
from shared.data.nouns import AttributeRule, Event, EventType, HistoryEvent, Item, ItemFilter, SeenPolicy
from shared.errors import InvalidField
from shared.rpc import context, convert
from shared.telemetry.stages import StageTime

NOW = datetime.now(UTC)

# Ids: printable characters of any script, up to the limit in bytes.
ids = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=64).filter(
    lambda text: text.isprintable() and len(text.encode()) <= limits.MAX_ID_BYTES
)
maybe_ids = st.one_of(st.just(""), ids)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
times = st.datetimes(datetime(1990, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 (hypothesis adds the zone)
numbers = st.floats(-1e6, 1e6)


@st.composite
def valued(draw):
    kind = draw(st.sampled_from(EventType))
    if kind is EventType.PLAY:
        return kind, draw(st.none() | st.floats(0, 1))
    return kind, draw(numbers if kind is EventType.RATING else st.none() | numbers)


@st.composite
def events(draw):
    kind, value = draw(valued())
    text = draw(texts.filter(str.strip) if kind is EventType.REVIEW else texts)
    return Event(
        event_id=draw(maybe_ids),
        user_id=draw(ids),
        item_id=draw(ids),
        type=kind,
        timestamp=draw(times),
        value=value,
        text=text,
        session_id=draw(maybe_ids),
        attribution_token=draw(maybe_ids),
        position=draw(st.integers(0, limits.MAX_POSITION)),
        propensity=draw(st.none() | st.floats(2**-20, 1.0, width=32)),
    )


@st.composite
def history_events(draw):
    kind, value = draw(valued())
    return HistoryEvent(draw(ids), kind, draw(times), value, draw(texts))


vectors = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=32).map(
    lambda values: np.array(values, dtype=np.float32)
)
attribute_values = st.one_of(
    texts,
    st.floats(-1e300, 1e300),
    st.booleans(),
    st.lists(ids, max_size=4).map(tuple),
    times,
)
attribute_names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=16)


@st.composite
def items(draw):
    low, high = sorted((draw(times), draw(times)))
    return Item(
        item_id=draw(ids),
        title=draw(texts),
        text=draw(texts),
        categories=tuple(draw(st.lists(ids, max_size=5))),
        attributes=draw(st.dictionaries(attribute_names, attribute_values, max_size=4)),
        available_from=draw(st.sampled_from([None, low])),
        available_until=None if low == high else draw(st.sampled_from([None, high])),
        vectors=draw(st.dictionaries(ids, vectors, max_size=2)),
        created_at=draw(st.none() | times),
        updated_at=draw(st.none() | times),
    )


ranges = st.tuples(st.none() | numbers, st.none() | numbers).filter(lambda ends: None in ends or ends[0] <= ends[1])
rules = st.one_of(
    st.builds(
        AttributeRule,
        attribute_names.filter(str.strip),
        any_of=st.lists(texts, min_size=1, max_size=3).map(tuple),
    ),
    st.builds(AttributeRule, attribute_names.filter(str.strip), range=ranges),
    st.builds(AttributeRule, attribute_names.filter(str.strip), equals=st.booleans()),
)
filters = st.builds(
    ItemFilter,
    categories_any=st.frozensets(texts, max_size=4),
    categories_all=st.frozensets(texts, max_size=4),
    categories_none=st.frozensets(texts, max_size=4),
    attributes=st.lists(rules, max_size=4).map(tuple),
    exclude_item_ids=st.frozensets(ids, max_size=4),
)


def over_the_wire(message):
    return type(message).FromString(message.SerializeToString())


@given(events())
def test_events_come_back_as_they_went(event):
    message = over_the_wire(convert.encode_event(event))
    assert convert.decode_event(message, "event", arrived_at=NOW) == event


@given(st.lists(history_events(), max_size=5))
def test_histories_come_back_as_they_went(history):
    assert convert.decode_history(over_the_wire(convert.encode_history(history)), "history") == history


def plain(item: Item) -> tuple:
    spaces = {space: (vector.dtype, vector.tolist()) for space, vector in item.vectors.items()}
    kinds = {name: (type(value), value) for name, value in item.attributes.items()}
    return (
        item.item_id, item.title, item.text, item.categories, kinds, item.available_from, item.available_until,
        spaces, item.created_at, item.updated_at,
    )  # fmt: skip


@given(items())
def test_items_come_back_as_they_went(item):
    assert plain(convert.decode_item(over_the_wire(convert.encode_item(item)), "item")) == plain(item)


@given(filters)
def test_filters_come_back_as_they_went(item_filter):
    assert convert.decode_filter(over_the_wire(convert.encode_filter(item_filter)), "filter") == item_filter


@given(vectors)
def test_vectors_come_back_bit_by_bit(vector):
    message = over_the_wire(convert.encode_vector(vector))
    assert message.dim == len(vector)
    assert convert.decode_vector(message, "v").tobytes() == vector.tobytes()


def test_vectors_of_other_types_and_strides_are_packed_as_float32():
    wide = np.arange(8, dtype=np.float64)[::2]
    message = convert.encode_vector(wide)
    assert convert.decode_vector(message, "v").tolist() == [0.0, 2.0, 4.0, 6.0]


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001 (hypothesis adds the zone)
def test_times_come_back_to_the_microsecond(time):
    assert convert.decode_time(convert.encode_time(time), "t") == time


def test_times_of_other_zones_are_the_same_instant():
    time = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=7)))
    assert convert.decode_time(convert.encode_time(time), "t") == time


@given(st.sampled_from(SeenPolicy))
def test_seen_policies_come_back(policy):
    assert convert.decode_seen_policy(int(policy), "p") is policy


def test_no_seen_policy_hides_all_and_an_unknown_one_is_refused():
    assert convert.decode_seen_policy(0, "p") is SeenPolicy.HIDE_ALL_SEEN
    with pytest.raises(InvalidField, match="ALLOW_REPEATS"):
        convert.decode_seen_policy(9, "policy")


def test_served_by_says_who_from_what_and_how_long():
    contextvars.copy_context().run(_check_served_by)


def _check_served_by():
    request_id = context.set_request_id("abc")
    served_by = convert.encode_served_by({"ranker": "v1"}, [StageTime("score", 3, 70)], "index-1")
    assert [(model.kind, model.version) for model in served_by.models] == [("ranker", "v1")]
    assert [(one.stage, one.queue_us, one.compute_us) for one in served_by.timings] == [("score", 3, 70)]
    assert (served_by.index_version, served_by.request_id) == ("index-1", request_id)
