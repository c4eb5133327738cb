from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.candidates.profile import Profile, build_profile
from services.candidates.profile_extended import extend_profile
from services.candidates.training.likes import likes_of
from shared.data.nouns import Event, EventType, HistoryEvent
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


def at(item, kind, hour, value=None):
    return HistoryEvent(item, kind, datetime(2020, 1, 1, hour, tzinfo=UTC), value)


def test_what_was_tried_takes_its_place_in_time():
    made = profile(
        at("d", EventType.RATING, 1, 2.0),
        at("a", EventType.LIKE, 2),
        at("b", EventType.RATING, 3, 2.0),
        at("c", EventType.LIKE, 4),
        at("d", EventType.RATING, 5, 1.0),
    )
    assert made.tried.tolist() == [1, 3]
    both = made.with_tried(0.3)
    assert both.liked.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(both.strengths, [1.0, 0.3, 1.0, 0.3])
    assert (np.diff(both.times) > 0).all()
    assert both.newest(2).liked.tolist() == [2, 3]
    assert both.newest(2).times.tolist() == both.times[2:].tolist()
    assert made.with_tried(0.0) is made


def test_what_was_tried_comes_first_where_times_are_not_known():
    made = Profile(np.array([4]), np.ones(1, np.float32), tried=np.array([7]))
    assert made.with_tried(0.5).liked.tolist() == [7, 4]


def test_dislikes_are_not_tried():
    made = profile(did("a", EventType.DISLIKE), did("b", EventType.RATING, 1.0), did("b", EventType.LIKE))
    assert made.tried.tolist() == []


def test_training_sees_what_was_tried_as_serving_does():
    histories = {
        "u": [at("d", EventType.RATING, 1, 2.0), at("a", EventType.LIKE, 2), at("b", EventType.RATING, 3, 2.0)],
        "v": [at("c", EventType.LIKE, 1), at("a", EventType.RATING, 2, 1.0)],
        "w": [at("b", EventType.DISLIKE, 1)],
    }
    events = [
        Event(f"{user}{place}", user, one.item_id, one.type, one.timestamp, one.value)
        for user, history in histories.items()
        for place, one in enumerate(history)
    ]
    likes = likes_of(events, ROWS, RULES).with_tried(0.3)
    for row, history in enumerate(histories.values()):
        own = profile(*history).with_tried(0.3)
        part = slice(likes.matrix.indptr[row], likes.matrix.indptr[row + 1])
        assert likes.sequence[part].tolist() == own.liked.tolist()
        assert likes.times[part].tolist() == own.times.tolist()
        dense = np.zeros(len(ROWS), np.float32)
        dense[own.liked] = own.strengths
        assert likes.matrix[[row]].toarray()[0].tolist() == dense.tolist()


@pytest.mark.parametrize("seed", range(20))
def test_an_extended_profile_is_that_of_the_longer_history(seed):
    rng = np.random.default_rng(seed)
    kinds = [*EventType]
    history = [
        HistoryEvent(
            f"item-{rng.integers(14)}",
            kinds[rng.integers(len(kinds))],
            datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=hour),
            float(rng.choice([0.2, 1.0, 4.0])),
        )
        for hour in range(120)
    ]
    rows = {f"item-{number}": int(row) for number, row in enumerate(rng.permutation(12))}
    made = build_profile(history[:3], rows, RULES)
    for end in (*range(4, 60), 90, 120):
        made = extend_profile(made, history[made_of(made, history) : end], rows, RULES, asked_at=float(end))
        whole = build_profile(history[:end], rows, RULES, asked_at=float(end))
        for name in ("liked", "strengths", "seen", "bought", "times", "tried", "tried_times", "disliked"):
            one, other = getattr(made, name), getattr(whole, name)
            assert (name, one.tolist(), one.dtype) == (name, other.tolist(), other.dtype)
        assert (made.events, made.asked_at) == (whole.events, whole.asked_at)


def made_of(profile, history):
    """Returns how many events of the history a profile was made of: impressions do not count in it."""
    counted = [place for place, event in enumerate(history) if RULES.counts(event)]
    return 0 if not profile.events else counted[profile.events - 1] + 1
