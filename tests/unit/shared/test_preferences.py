from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.data.nouns import EventType, HistoryEvent, ItemFilter, Temperature, temperature
from shared.data.preferences import DEFAULT_WEIGHTS, PreferenceRules

NOW = datetime(2024, 1, 1, tzinfo=UTC)
RULES = PreferenceRules()

events = st.builds(
    HistoryEvent, st.just("i"), st.sampled_from(EventType), st.just(NOW), st.none() | st.floats(-1e6, 1e6)
)


def event(kind: EventType, value: float | None = None) -> HistoryEvent:
    return HistoryEvent("i", kind, NOW, value)


@pytest.mark.parametrize(
    ("kind", "value", "signal"),
    [
        (EventType.IMPRESSION, None, 0.0),
        (EventType.VIEW, None, 0.2),
        (EventType.CLICK, None, 0.4),
        (EventType.RATING, 4.0, 1.0),
        (EventType.RATING, 5.0, 1.0),
        (EventType.RATING, 3.5, -1.0),
        (EventType.RATING, 0.0, -1.0),
        (EventType.REVIEW, None, 1.0),
        (EventType.REVIEW, 2.0, -1.0),
        (EventType.LIKE, None, 1.0),
        (EventType.DISLIKE, None, -1.0),
        (EventType.DISLIKE, 5.0, -1.0),
        (EventType.ADD_TO_CART, None, 0.7),
        (EventType.PURCHASE, 3.0, 1.0),
        (EventType.PLAY, 0.49, 0.0),
        (EventType.PLAY, 0.5, 0.6),
        (EventType.PLAY, None, 0.6),
    ],
)
def test_what_an_event_says(kind, value, signal):
    assert RULES.signal(event(kind, value)) == signal


def test_every_event_type_has_a_weight():
    assert set(DEFAULT_WEIGHTS) == set(EventType)


@given(events)
def test_a_signal_is_never_larger_than_its_weight(one):
    assert abs(RULES.signal(one)) <= abs(DEFAULT_WEIGHTS[one.type])


@given(events, st.floats(0, 5))
def test_the_threshold_parts_ratings(one, threshold):
    rules = PreferenceRules(positive_rating=threshold)
    if one.type is EventType.RATING and one.value is not None:
        assert (rules.signal(one) > 0) == (one.value >= threshold)


def test_weights_can_be_set_and_those_left_out_say_nothing():
    rules = PreferenceRules(weights={EventType.VIEW: 2.0})
    assert rules.signal(event(EventType.VIEW)) == 2.0
    assert rules.signal(event(EventType.CLICK)) == 0.0


def test_rules_do_not_share_their_weights():
    assert PreferenceRules().weights is not PreferenceRules().weights
    assert PreferenceRules().weights is not DEFAULT_WEIGHTS


@given(events)
def test_all_but_impressions_count(one):
    assert RULES.counts(one) == (one.type is not EventType.IMPRESSION)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, Temperature.COLD),
        (1, Temperature.WARM),
        (9, Temperature.WARM),
        (10, Temperature.HOT),
        (500, Temperature.HOT),
    ],
)
def test_temperature(count, expected):
    assert temperature(count) is expected


def test_a_filter_of_ids_alone_needs_no_items():
    assert not ItemFilter(exclude_item_ids=frozenset({"a"})).reads_items
    assert ItemFilter(categories_none=frozenset({"a"})).reads_items
