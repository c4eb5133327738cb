from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.ingestion.adapters import sqlite_rows as rows
from shared.data.nouns import Item
from shared.testing.ingestion_samples import FULL_EVENT, FULL_ITEM, START

times = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 (bounds are naive)


@given(times)
def test_times_are_exact_to_the_microsecond(time):
    assert rows.from_us(rows.to_us(time)) == time


def test_event_round_trip():
    assert rows.event_of(rows.event_row(FULL_EVENT)) == FULL_EVENT
    assert len(rows.event_row(FULL_EVENT)) == len(rows.EVENT_COLUMNS.split(","))


def test_equal_items_have_equal_bytes_whatever_the_order_of_their_attributes():
    one = Item("a", attributes={"x": 1.0, "y": "b"}, created_at=START)
    two = Item("a", attributes={"y": "b", "x": 1.0}, updated_at=START)
    assert rows.item_body(one) == rows.item_body(two)
    assert rows.item_body(one) != rows.item_body(Item("a", attributes={"x": 1.0}))


def test_item_round_trip_with_its_times():
    item = rows.item_of(rows.timed_body(rows.item_body(FULL_ITEM), rows.to_us(START), rows.to_us(START) + 1))
    assert (item.title, item.categories, item.attributes) == (
        FULL_ITEM.title,
        FULL_ITEM.categories,
        FULL_ITEM.attributes,
    )
    assert item.created_at == START
    assert rows.to_us(item.updated_at) == rows.to_us(START) + 1
