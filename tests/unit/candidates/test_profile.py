from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from services.candidates.profile import build_profile
from shared.data.nouns import EventType, HistoryEvent
from shared.data.preferences import PreferenceRules

ROWS = {"a": 0, "b": 1, "c": 2, "d": 3}
RULES = PreferenceRules()


def did(item, kind, value=None):
    return HistoryEvent(item, kind, datetime(2020, 1, 1, tzinfo=UTC), value)


def profile(*events):
    return build_profile(events, ROWS, RULES)


def test_ratings_below_the_threshold_are_seen_not_liked():
    made = profile(did("a", EventType.RATING, 4.0), did("b", EventType.RATING, 3.5))
    assert made.liked.tolist() == [0]
    assert made.seen.tolist() == [0, 1]
    assert made.events == 2


def test_impressions_say_nothing():
    made = profile(did("a", EventType.IMPRESSION))
    assert (made.events, len(made.seen), len(made.liked)) == (0, 0, 0)


def test_unknown_items_count_as_events_only():
    made = profile(did("unheard", EventType.LIKE))
    assert (made.events, len(made.seen)) == (1, 0)


def test_a_dislike_takes_a_like_back_and_a_later_like_gives_it_again():
    assert profile(did("a", EventType.LIKE), did("a", EventType.DISLIKE)).liked.tolist() == []
    again = profile(did("a", EventType.LIKE), did("a", EventType.DISLIKE), did("a", EventType.VIEW))
    assert again.liked.tolist() == [0]
    np.testing.assert_allclose(again.strengths, [0.2])


def test_the_strongest_like_counts_at_the_place_of_the_last():
    made = profile(did("a", EventType.PURCHASE), did("b", EventType.LIKE), did("a", EventType.VIEW))
    assert made.liked.tolist() == [1, 0]
    np.testing.assert_allclose(made.strengths, [1.0, 1.0])
    assert made.bought.tolist() == [0]


def test_newest_and_decayed():
    made = profile(*(did(item, EventType.LIKE) for item in "abcd"))
    assert made.newest(2).liked.tolist() == [2, 3]
    assert made.newest(9).liked.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(made.decayed(1.0).strengths, [0.125, 0.25, 0.5, 1.0])
    assert made.newest(2) is made.newest(2)


def test_what_depends_on_the_liked_items_only_is_shared_by_profiles_of_other_strengths():
    made = profile(*(did(item, EventType.LIKE) for item in "abcd"))
    assert made.keep_of_liked("key", object) is made.decayed(2.0).keep_of_liked("key", object)
    assert made.keep_of_liked("key", object) is not made.newest(2).keep_of_liked("key", object)
    assert made.keep("key", object) is not made.decayed(2.0).keep("key", object)
