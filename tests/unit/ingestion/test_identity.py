from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from services.ingestion.writing.identity import derived_id, identified
from shared.data.nouns import EventType
from shared.testing.ingestion_samples import FULL_EVENT, event

NAMELESS = replace(FULL_EVENT, event_id="")


def test_a_given_id_is_kept():
    assert identified(event(1), has_timestamp=True) == event(1)
    assert identified(event(1), has_timestamp=False) == event(1)


def test_a_derived_id_never_changes():
    # Written down once: files imported by an earlier version must derive the same ids.
    assert derived_id(NAMELESS) == "b4b218eecb9f939fcc1f76e8c7e47329"


def test_a_derived_id_depends_on_what_the_contract_lists():
    first = identified(NAMELESS, has_timestamp=True)
    assert first == identified(NAMELESS, has_timestamp=True)
    changes = [
        {"user_id": "other"},
        {"item_id": "other"},
        {"type": EventType.VIEW},
        {"timestamp": NAMELESS.timestamp + timedelta(microseconds=1)},
        {"value": None},
        {"value": 1.5},
        {"text": ""},
    ]
    others = {derived_id(replace(NAMELESS, **change)) for change in changes}
    assert len(others | {first.event_id}) == len(changes) + 1
    unlisted = replace(NAMELESS, session_id="other", attribution_token="z", position=9)  # noqa: S106 (not a password)
    assert derived_id(unlisted) == first.event_id


def test_neighbouring_fields_do_not_run_together():
    one = replace(NAMELESS, user_id="ab", item_id="c")
    two = replace(NAMELESS, user_id="a", item_id="bc")
    assert derived_id(one) != derived_id(two)


def test_zero_is_not_no_value():
    assert derived_id(replace(NAMELESS, value=0.0)) != derived_id(replace(NAMELESS, value=None))


def test_without_a_timestamp_the_id_is_random():
    first, second = identified(NAMELESS, has_timestamp=False), identified(NAMELESS, has_timestamp=False)
    assert first.event_id
    assert first.event_id != second.event_id
