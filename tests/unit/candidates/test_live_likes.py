"""Popularity between two trainings: the counts are those that training would make, where memory reaches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.candidates.catalogue.table import ItemTable
from services.candidates.live.histories import LiveHistories
from services.candidates.live.likes import LiveLikes
from services.candidates.ports import UserHistory
from services.candidates.profile import Profile
from services.candidates.sources.popular import PopularSource
from services.candidates.training.likes import likes_of
from shared.data.nouns import Event, EventType, HistoryEvent, Item
from shared.data.preferences import PreferenceRules

START = datetime(2020, 1, 1, tzinfo=UTC)
RULES = PreferenceRules()


class Store:
    def __init__(self):
        self.histories = {}

    async def read(self, user_id):
        return self.histories.get(user_id, UserHistory((), 0))


class Keeper:
    """A live source that keeps what was tried: what it is told of the pairs of users and items."""

    def __init__(self):
        self.told = []

    def grow(self, size):
        pass

    def like(self, user_id, row, at):  # noqa: ARG002 (the port's)
        self.told.append(("like", user_id, row))

    def take_back(self, user_id, row, at):  # noqa: ARG002 (the port's)
        self.told.append(("take back", user_id, row))

    def dislike(self, user_id, row):
        self.told.append(("dislike", user_id, row))

    def forget(self, user_id):
        pass

    def reset(self):
        pass


class Live:
    """The popularity of a catalogue of three items, trained with `trained` likes of each."""

    def __init__(self, trained=0, max_pairs=100):
        self.table = ItemTable()
        for item_id in ("a", "b", "c"):
            self.table.put(Item(item_id))
        self.popular = PopularSource(np.full(3, trained))
        self.store = Store()
        self.histories = LiveHistories(self.store, max_users=10, max_events=100)
        self.keeper = Keeper()
        self.likes = LiveLikes([self.popular, self.keeper], self.table, self.histories, RULES, max_pairs)
        self.sequence = 100
        self.events = []

    def happens(self, user, item, kind=EventType.LIKE, value=None):
        self.sequence += 1
        event = Event(f"e{self.sequence}", user, item, kind, START + timedelta(seconds=self.sequence), value)
        self.likes.add(self.sequence, event)
        self.histories.add(self.sequence, event)
        self.events.append(event)

    def forget(self, user):
        self.sequence += 1
        self.likes.forget(self.sequence, user)
        self.histories.forget(self.sequence, user)

    @property
    def counts(self):
        rows = np.arange(len(self.table))
        nobody = Profile(rows[:0], np.zeros(0, np.float32))
        return np.rint(np.expm1(self.popular.score(nobody, rows))).astype(int).tolist()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cached", [False, True])
async def test_the_counts_are_those_of_a_training_on_the_same_events(seed, cached):
    live = Live()
    rng = np.random.default_rng(seed)
    kinds = [EventType.LIKE, EventType.PURCHASE, EventType.VIEW, EventType.DISLIKE, EventType.IMPRESSION]
    if cached:
        for user in range(4):
            await live.histories.read(f"u{user}")
    for _ in range(200):
        live.happens(f"u{rng.integers(6)}", "abcd"[rng.integers(4)], kinds[rng.integers(len(kinds))])
    counting = [event for event in live.events if RULES.counts(event)]
    assert live.counts == likes_of(counting, live.table.rows, RULES).per_item.tolist()


async def test_a_like_that_training_counted_is_known_from_a_history_in_memory():
    live = Live(trained=1)
    live.store.histories["u"] = UserHistory((HistoryEvent("a", EventType.LIKE, START),), 50)
    await live.histories.read("u")
    live.happens("u", "a")
    assert live.counts == [1, 1, 1]
    live.happens("u", "a", EventType.DISLIKE)
    assert live.counts == [0, 1, 1]
    live.happens("u", "a")
    assert live.counts == [1, 1, 1]


async def test_a_history_ahead_of_the_log_hides_no_like():
    live = Live()
    live.store.histories["u"] = UserHistory((HistoryEvent("a", EventType.LIKE, START),), 101)
    await live.histories.read("u")
    live.happens("u", "a")
    assert live.counts == [1, 0, 0]


def test_a_dislike_of_what_was_not_counted_takes_nothing_away():
    live = Live(trained=2)
    live.happens("u", "a", EventType.DISLIKE)
    assert live.counts == [2, 2, 2]


def test_a_dislike_of_what_may_have_been_tried_is_told_to_those_that_keep_it():
    live = Live(trained=2)
    live.happens("u", "b", EventType.DISLIKE)
    # A low rating is a try, as training sees it.
    live.happens("u", "c", EventType.RATING, 1.0)
    live.happens("u", "a")
    live.happens("u", "a", EventType.DISLIKE)
    assert live.keeper.told == [("dislike", "u", 1), ("like", "u", 0), ("take back", "u", 0)]
    assert live.counts == [2, 2, 2]


def test_memory_is_bounded_and_the_users_longest_silent_go_first():
    live = Live(max_pairs=3)
    for user, item in (("u", "a"), ("v", "a"), ("u", "b"), ("w", "a")):
        live.happens(user, item)
    assert live.counts == [3, 1, 0]
    live.happens("u", "a")
    live.happens("w", "a")
    assert live.counts == [3, 1, 0]
    live.happens("v", "a")
    assert live.counts == [4, 1, 0]


async def test_a_forgotten_users_likes_are_taken_back():
    live = Live(trained=3)
    live.store.histories["u"] = UserHistory((HistoryEvent("a", EventType.LIKE, START),), 50)
    await live.histories.read("u")
    live.happens("u", "b")
    live.happens("v", "b")
    live.forget("u")
    assert live.counts == [2, 4, 3]
    live.forget("u")
    assert live.counts == [2, 4, 3]
    live.happens("u", "b")
    assert live.counts == [2, 5, 3]


def test_clear_counts_from_nothing():
    live = Live(trained=3)
    live.happens("u", "a")
    live.likes.clear()
    assert live.counts == [0, 0, 0]
    live.happens("u", "a")
    assert live.counts == [1, 0, 0]
