from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingestion.reading.cursors import (
    decode_cursor,
    decode_page_token,
    encode_cursor,
    encode_page_token,
    known_position,
)
from shared.errors import InvalidField, StaleCursor

LOG = "0123456789abcdef"
ids = st.text(min_size=1, max_size=60).filter(str.isprintable)


@given(st.integers(0, 10**17))
def test_cursor_round_trip(sequence):
    assert decode_cursor(encode_cursor(LOG, sequence), LOG, end=sequence) == sequence


@given(ids)
def test_page_token_round_trip(item_id):
    assert decode_page_token(encode_page_token(item_id)) == item_id


def test_empty_means_the_start():
    assert decode_cursor("", LOG, end=0) == 0
    assert decode_page_token("") == ""


def as_token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "not base64!",
        "ä",
        "MQ",
        encode_cursor(LOG, 5) + "A",
        encode_cursor(LOG, 5)[:-1],
        as_token(f"1.{LOG}.-1"),
        as_token(f"1.{LOG}.01"),
        as_token(f"1.{LOG}.99999999999999999999999"),
        as_token(f"2.{LOG}.5"),
        as_token(f"1.{LOG}.5\n"),
    ],
)
def test_malformed_cursor(cursor):
    with pytest.raises(InvalidField) as caught:
        decode_cursor(cursor, LOG, end=100)
    assert caught.value.violation.field == "cursor"


def test_cursor_of_another_log_or_beyond_the_end_is_stale():
    with pytest.raises(StaleCursor):
        decode_cursor(encode_cursor("f" * 16, 5), LOG, end=100)
    with pytest.raises(StaleCursor):
        decode_cursor(encode_cursor(LOG, 101), LOG, end=100)


@pytest.mark.parametrize(
    "token", ["x", "?", as_token("q.a"), as_token("p."), as_token("p." + "x" * 300), as_token("p.\0")]
)
def test_malformed_page_token(token):
    with pytest.raises(InvalidField) as caught:
        decode_page_token(token)
    assert caught.value.violation.field == "page_token"


@given(st.text(max_size=40))
def test_any_text_is_decoded_or_refused(text):
    for decode in (lambda: decode_cursor(text, LOG, end=10), lambda: decode_page_token(text)):
        try:
            decode()
        except (InvalidField, StaleCursor):
            continue


def test_what_a_caller_knows_counts_for_this_log_alone():
    assert known_position(encode_cursor(LOG, 7), LOG, end=9) == 7
    assert known_position("", LOG, end=9) is None
    assert known_position(encode_cursor(LOG, 10), LOG, end=9) is None
    assert known_position(encode_cursor("f" * 16, 7), LOG, end=9) is None
    with pytest.raises(InvalidField) as refused:
        known_position("x", LOG, end=9)
    assert refused.value.violation.field == "known_cursor"
