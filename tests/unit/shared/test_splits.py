"""The splits: cuts, order, and the counts that the figures of the whole project stand on."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.data import splits
from shared.data.nouns import Event, EventType
from shared.data.preferences import PreferenceRules
from shared.testing.movielens import movielens_events

START = datetime(2020, 1, 1, tzinfo=UTC)
RULES = PreferenceRules()


def rating(user, item, second=0, value=5.0):
    return Event("", user, item, EventType.RATING, START + timedelta(seconds=second), value)


def a_users_events(count):
    return [rating("u", str(index), second=index) for index in range(count)]


def test_events_are_sorted_by_time_then_by_item_id_as_a_number():
    events = [rating("u", "10", 5), rating("u", "9", 5), rating("u", "b", 5), rating("u", "a", 5), rating("u", "99", 1)]
    ordered = [event.item_id for event in splits.by_user(events)["u"]]
    assert ordered == ["99", "9", "10", "a", "b"]


@given(st.permutations(a_users_events(12)))
def test_the_order_of_the_log_does_not_matter(events):
    assert splits.by_user(events) == {"u": a_users_events(12)}


@pytest.mark.parametrize(
    ("count", "train", "validation", "test"),
    [(1, 1, 0, 0), (2, 2, 0, 0), (5, 4, 0, 1), (10, 7, 1, 2), (20, 14, 2, 4), (30, 21, 3, 6), (23, 17, 2, 4)],
)
def test_cuts_by_hand(count, train, validation, test):
    split = splits.per_user_chronological({"u": a_users_events(count)})["u"]
    assert (len(split.train), len(split.validation), len(split.test)) == (train, validation, test)


@given(st.integers(0, 3000))
def test_cuts_are_the_exact_ceilings_not_those_of_binary_fractions(count):
    split = splits.per_user_chronological({"u": range(count)})["u"]
    assert len(split.train) == math.ceil(Fraction(7, 10) * count)
    assert len(split.train) + len(split.validation) == math.ceil(Fraction(8, 10) * count)
    assert [*split.train, *split.validation, *split.test] == list(range(count))


@pytest.mark.parametrize(("first", "second"), [(0.8, 0.7), (-0.1, 0.5), (0.5, 1.1)])
def test_cuts_that_are_not_in_order_are_refused(first, second):
    with pytest.raises(ValueError, match="first <= second"):
        splits.per_user_chronological({}, first, second)


@given(st.sets(st.text(min_size=1, max_size=8), max_size=60))
def test_the_hidden_fifth_is_a_fifth_with_the_smallest_hashes(ids):
    hidden = splits.hidden_fifth(ids)
    assert len(hidden) == len(ids) // 5
    hashes = {one: hashlib.sha256(one.encode()).hexdigest() for one in ids}
    assert all(hashes[a] < hashes[b] for a in hidden for b in ids - hidden)


def test_items_with_two_positives_are_never_hidden():
    positives = [rating(f"u{n}", f"i{item}", n) for item in range(50) for n in range(2 if item % 2 else 3)]
    hidden = splits.hidden_items(positives)
    assert len(hidden) == 5
    assert all(int(item[1:]) % 2 == 0 for item in hidden)


def test_hidden_users_are_a_fifth_of_the_users_and_not_of_the_events():
    events = [rating(f"u{n % 20}", str(n), n) for n in range(400)]
    assert len(splits.hidden_users(events)) == 4


@pytest.fixture(scope="module")
def movielens():
    return movielens_events()


@pytest.fixture(scope="module")
def positives(movielens):
    return [event for event in movielens if RULES.signal(event) > 0]


def test_movielens_is_what_the_figures_are_about(movielens, positives):
    assert (len(movielens), len({e.user_id for e in movielens}), len({e.item_id for e in movielens})) == (
        100_004,
        671,
        9_066,
    )
    assert len(positives) == sum(event.value >= 4 for event in movielens)


def test_warm_counts_656_users_of_movielens(movielens):
    cut = splits.per_user_chronological(splits.by_user(movielens))
    counting = [user for user, split in cut.items() if any(RULES.signal(event) > 0 for event in split.test)]
    assert len(counting) == 656


def test_new_items_hides_589_items_with_658_users_of_movielens(positives):
    hidden = splits.hidden_items(positives)
    assert len(hidden) == 589
    assert len({event.user_id for event in positives if event.item_id in hidden}) == 658
    often = Counter(event.item_id for event in positives)
    assert min(often[item] for item in hidden) >= 3


def test_new_users_hides_134_users_of_movielens_each_with_a_later_positive(movielens):
    hidden = splits.hidden_users(movielens)
    assert len(hidden) == 134
    users = splits.by_user(movielens)
    for length in splits.NEW_USER_HISTORIES:
        assert all(any(RULES.signal(event) > 0 for event in users[user][length:]) for user in hidden)
