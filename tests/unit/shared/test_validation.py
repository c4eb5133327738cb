from __future__ import annotations

import math
import sys
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest

from shared.data import validation
from shared.errors import InvalidField, LimitExceeded


@pytest.mark.parametrize(
    "value", ["a", "x" * 256, "é" * 128, "日本", "with space", "emoji 🎬", "a/b:c", "prix\u00a0bas", "本\u3000雑誌"]
)
def test_good_ids_stay_as_they_are(value):
    assert validation.check_id(value, "id") == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("", InvalidField),
        ("x" * 257, LimitExceeded),
        ("é" * 129, LimitExceeded),
        ("a\x00", InvalidField),
        ("a\n", InvalidField),
        ("\x7f", InvalidField),
        ("a\x85b", InvalidField),
    ],
)
def test_bad_ids_are_refused(value, kind):
    with pytest.raises(kind) as caught:
        validation.check_id(value, "user_id")
    assert type(caught.value) is kind
    assert caught.value.violation.field == "user_id"


def test_control_characters_are_those_of_unicode():
    refused = []
    for character in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.category(character) == "Cs":
            continue  # a lone surrogate is no text: it cannot come over the wire
        try:
            validation.check_id(character, "id")
        except InvalidField:
            refused.append(character)
    assert len(refused) == 65
    assert {unicodedata.category(character) for character in refused} == {"Cc"}


def test_an_optional_id_may_be_empty_but_not_bad():
    assert validation.check_id("", "id", required=False) == ""
    with pytest.raises(InvalidField):
        validation.check_id("\n", "id", required=False)


def test_texts_are_measured_in_bytes():
    assert validation.check_text("é" * 5, "t", 10) == "é" * 5
    with pytest.raises(LimitExceeded, match="it has 11 bytes"):
        validation.check_text("é" * 5 + "x", "t", 10)
    with pytest.raises(InvalidField):
        validation.check_text(" \t", "t", 10, required=True)
    assert validation.check_text("", "t", 10) == ""


def test_counts():
    validation.check_count([1, 2], "list", 2, minimum=1)
    with pytest.raises(InvalidField, match=r"1\.\.2 elements"):
        validation.check_count([], "list", 2, minimum=1)
    with pytest.raises(LimitExceeded, match="3 elements"):
        validation.check_count([1, 2, 3], "list", 2)


@pytest.mark.parametrize(("value", "result"), [(1, 1), (10, 10), (0, 5)])
def test_integers_in_range_and_zero_as_the_default(value, result):
    assert validation.check_int(value, "k", 1, 10, zero_means=5) == result


@pytest.mark.parametrize(("value", "kind"), [(0, InvalidField), (-3, InvalidField), (11, LimitExceeded)])
def test_integers_out_of_range(value, kind):
    with pytest.raises(kind) as caught:
        validation.check_int(value, "k", 1, 10)
    assert caught.value.metadata == {
        "field": "k", "value": str(value), "limit": "1..10", "hint": "use a value from 1 to 10",
    }  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.01, -0.01])
def test_numbers_that_are_none_or_out_of_range(value):
    with pytest.raises(InvalidField):
        validation.check_number(value, "v", 0.0, 1.0)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_numbers_in_range(value):
    assert validation.check_number(value, "v", 0.0, 1.0) == value


def test_timestamps():
    now = datetime.now(UTC)
    for good in (datetime(1990, 1, 1, tzinfo=UTC), now, now + timedelta(hours=23)):
        assert validation.check_timestamp(good, "t") == good
    milliseconds_for_seconds = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(now.timestamp() / 1_000))
    for bad in (datetime(1989, 12, 31, 23, 59, 59, tzinfo=UTC), now + timedelta(days=2), milliseconds_for_seconds):
        with pytest.raises(InvalidField, match="milliseconds"):
            validation.check_timestamp(bad, "t")
