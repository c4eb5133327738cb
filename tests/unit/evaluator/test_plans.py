"""The three protocols laid out: the published counts, and that no query knows what it asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.evaluator.ports import LogSnapshot
from services.evaluator.protocols.new_items import hash_order, plan_new_items
from services.evaluator.protocols.new_users import plan_new_users
from services.evaluator.protocols.warm import plan_warm
from shared.data import limits, splits
from shared.data.nouns import Event, EventType
from shared.data.preferences import PreferenceRules
from shared.testing.movielens import movielens_events

RULES = PreferenceRules()
START = datetime(2020, 1, 1, tzinfo=UTC)


def rate(user, item, second, value=5.0, kind=EventType.RATING):
    return Event("", user, item, kind, START + timedelta(seconds=second), value)


def snapshot(events):
    return LogSnapshot(events, frozenset(event.item_id for event in events), len(events))


@pytest.fixture(scope="module")
def movielens():
    return snapshot(movielens_events())


@pytest.fixture(scope="module")
def own_events(movielens):
    return splits.by_user(movielens.events)


@pytest.fixture(scope="module")
def warm(movielens):
    return plan_warm(movielens, RULES)


@pytest.fixture(scope="module")
def new_items(movielens):
    return plan_new_items(movielens, RULES)


@pytest.fixture(scope="module")
def new_users(movielens):
    return plan_new_users(movielens, RULES)


def test_the_published_counts(warm, new_items, new_users):
    assert (warm.users, len(warm.queries), warm.pool, len(warm.catalogue)) == (656, 656, None, 9_066)
    assert (new_items.users, len(new_items.pool), new_items.facts) == (658, 589, {"hidden_items": 589})
    assert (new_users.users, new_users.facts, new_users.history_lengths) == (134, {"hidden_users": 134}, (1, 3, 5, 10))
    assert len(new_users.queries) == 4 * 134


def test_no_history_holds_a_relevant_item_or_is_empty_handed(warm, new_items, new_users):
    for query in (*warm.queries, *new_items.queries, *new_users.queries):
        assert query.relevant
        assert not query.relevant & query.seen
        assert query.seen == {event.item_id for event in query.question.history} | query.question.exclude


def test_warm_asks_right_after_the_last_event_it_tells_of(warm, own_events):
    for query in warm.queries:
        own = own_events[query.user_id]
        cut = -(-8 * len(own) // 10)
        assert query.question.as_of == own[cut - 1].timestamp + timedelta(microseconds=1)
        assert query.question.as_of <= own[cut].timestamp + timedelta(microseconds=1)
        assert len(query.question.history) == min(cut, limits.MAX_HISTORY)


def test_of_long_histories_the_newest_1000_are_sent_and_older_items_excluded_by_id(warm, own_events):
    longest = max(warm.queries, key=lambda query: len(query.seen))
    cut = -(-8 * len(own_events[longest.user_id]) // 10)
    assert len(longest.seen) == cut > limits.MAX_HISTORY
    assert len(longest.question.history) == limits.MAX_HISTORY
    assert len(longest.question.exclude) == cut - limits.MAX_HISTORY
    assert longest.question.history[-1].item_id == own_events[longest.user_id][cut - 1].item_id


def test_new_items_never_tells_of_a_hidden_item(new_items):
    hidden = frozenset(new_items.pool)
    assert all(not query.seen & hidden and query.relevant <= hidden for query in new_items.queries)


def test_new_items_order_is_free_of_the_ids(new_items):
    assert new_items.pool == hash_order(frozenset(new_items.pool))
    assert list(new_items.pool) != sorted(new_items.pool)


def test_new_users_tells_of_the_first_events_only(new_users, own_events):
    for query in new_users.queries:
        own = own_events[query.user_id]
        told = [event.item_id for event in query.question.history]
        assert told == [event.item_id for event in own[: query.history_length]]
        later = {event.item_id for event in own[query.history_length :] if event.value >= 4}
        assert query.relevant == later - set(told)


def test_impressions_are_no_part_of_a_history():
    events = [rate("u", str(n), n) for n in range(10)]
    shown = [rate("u", f"shown{n}", n, None, EventType.IMPRESSION) for n in range(50)]
    with_them, without = plan_warm(snapshot(events + shown), RULES), plan_warm(snapshot(events), RULES)
    assert with_them.queries == without.queries
    assert with_them.queries[0].relevant == {"8", "9"}


def test_an_item_of_the_history_is_not_asked_for_again():
    events = [rate("u", str(n), n) for n in range(8)] + [rate("u", "0", 8), rate("u", "new", 9)]
    assert plan_warm(snapshot(events), RULES).queries[0].relevant == {"new"}


def test_users_with_nothing_to_foretell_are_left_out():
    liked_nothing = [rate("sad", str(n), n, 1.0) for n in range(10)]
    one_event = [rate("once", "1", 1)]
    assert plan_warm(snapshot(liked_nothing + one_event), RULES).queries == ()


def test_the_rules_decide_what_is_relevant():
    events = [rate("u", str(n), n, 3.0) for n in range(10)]
    assert plan_warm(snapshot(events), RULES).users == 0
    assert plan_warm(snapshot(events), PreferenceRules(positive_rating=3.0)).users == 1


def test_a_user_of_hidden_items_only_is_asked_with_an_empty_history_and_no_time():
    events = [rate(f"u{user}", f"i{item}", user) for item in range(10) for user in range(3)]
    hidden = splits.hidden_items(events)
    only_hidden = [rate("v", item, 5) for item in sorted(hidden)]
    plan = plan_new_items(snapshot(events + only_hidden), RULES)
    query = next(query for query in plan.queries if query.user_id == "v")
    assert (query.question.history, query.question.as_of, query.relevant) == ((), None, hidden)


def test_more_hidden_items_than_one_call_ranks_are_cut_and_the_words_say_so(monkeypatch):
    monkeypatch.setattr("services.evaluator.protocols.new_items.MAX_CANDIDATES", 3)
    events = [rate(f"u{user}", f"i{item}", user) for item in range(30) for user in range(3)]
    plan = plan_new_items(snapshot(events), RULES)
    assert len(plan.pool) == 3
    assert "6 items" in plan.split
    assert "first 3 of them" in plan.split
