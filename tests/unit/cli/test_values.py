"""Single values: what is understood, and what is told of the rest."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cli.importing.values import BadValue, as_attribute, as_event_type, as_list, as_number, as_text, as_time
from shared.data.nouns import EventType

NEW_YEAR = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        1577836800,
        1577836800.0,
        "1577836800",
        1577836800000,
        "1577836800000",
        "2020-01-01",
        "2020-01-01T00:00:00",
        "2020-01-01 00:00:00Z",
        "2020-01-01T02:00:00+02:00",
        " 2020-01-01 ",
        date(2020, 1, 1),
        datetime(2020, 1, 1),  # noqa: DTZ001 (naive is the case)
    ],
)
def test_times_by_the_stated_rule(value):
    assert as_time(value, "timestamp") == NEW_YEAR


@given(st.integers(631_152_000, 4_000_000_000))
def test_seconds_and_milliseconds_of_the_same_time_agree(seconds):
    assert as_time(seconds, "t") == as_time(seconds * 1000, "t") == as_time(str(seconds), "t")


@pytest.mark.parametrize("value", ["yesterday", "2020-13-01", True, float("nan"), 1e300, "1e9", [1]])
def test_what_is_no_time_is_told_with_column_and_value(value):
    with pytest.raises(BadValue, match=r"^when = .* is not a time: use ISO 8601"):
        as_time(value, "when")


@pytest.mark.parametrize("value", ["four", "1_000", True, [4], "4,5", 10**400])
def test_what_is_no_number_is_told(value):
    with pytest.raises(BadValue, match=r"^value = .* is not a number"):
        as_number(value, "value")


def test_numbers():
    assert [as_number(value, "v") for value in ("4.5", 4, " 3 ", "", None)] == [4.5, 4.0, 3.0, None, None]


@pytest.mark.parametrize(
    "value", ["add_to_cart", "ADD_TO_CART", "Add to cart", "add-to-cart", "EVENT_TYPE_ADD_TO_CART"]
)
def test_event_types_in_any_case(value):
    assert as_event_type(value, "type") is EventType.ADD_TO_CART


@pytest.mark.parametrize("value", ["buy", 4, "UNSPECIFIED"])
def test_an_unknown_event_type_is_told_with_the_known_ones(value):
    with pytest.raises(BadValue, match=r"type = .* use one of IMPRESSION, VIEW"):
        as_event_type(value, "type")


def test_ids_that_are_whole_numbers_have_no_fraction():
    assert [as_text(value, "id") for value in (12, 12.0, "12.0", None)] == ["12", "12", "12.0", ""]


@pytest.mark.parametrize("value", [1.5, True, {"a": 1}, "\ud800"])
def test_what_is_no_text_is_told(value):
    with pytest.raises(BadValue, match=r"^id = "):
        as_text(value, "id")


def test_lists_are_kept_and_texts_split():
    assert as_list(["A|B", 3], "c") == ["A|B", "3"]
    assert as_list("A | B||C", "c") == ["A", "B", "C"]
    assert as_list(None, "c") == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1995", 1995.0),
        ("-0.5", -0.5),
        ("true", True),
        ("FALSE", False),
        ("007", "007"),
        ("1995-01", "1995-01"),
        ("12345678901234567890", "12345678901234567890"),
        ("", None),
    ],
)
def test_attributes_of_untyped_files_are_recognised(value, expected):
    found = as_attribute(value, "a", typed=False)
    assert found == expected
    assert type(found) is type(expected)


def test_attributes_of_typed_files_keep_their_type():
    assert as_attribute("1995", "a", typed=True) == "1995"
    assert as_attribute(True, "a", typed=True) is True
    assert as_attribute(7, "a", typed=True) == 7.0
    assert as_attribute(["x", "y"], "a", typed=True) == ("x", "y")
    assert as_attribute(date(2020, 1, 1), "a", typed=True) == NEW_YEAR
    with pytest.raises(BadValue, match="is not a text, number"):
        as_attribute({"deep": {}}, "a", typed=True)
