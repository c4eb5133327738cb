"""What reviews add to the ranker's item vectors, in training and live."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import numpy as np
import pytest

from services.ranker.items.evidence import with_reviews
from services.ranker.items.live import LiveItems
from services.ranker.ports import Embedded
from services.ranker.training.tables import base_table, with_counts
from shared.data.item_evidence import ItemReviews, mixed
from shared.data.nouns import Event, EventType, Item, ItemDeleted, LogRecord, UserForgotten

from .samples import RULES, START, rating

AXES = dict(zip(("own", "one", "two", "other"), np.eye(4, dtype=np.float32), strict=True))


class Texts:
    """Vectors of the texts above."""

    version = "e1"

    def get(self, text):
        return AXES.get(text)


def review(user, item, text, day=0):
    return Event(f"{user}-{item}-{day}", user, item, EventType.REVIEW, START + timedelta(days=day), 3.0, text)


def applied(live, *bodies):
    live.apply([LogRecord(number, START, body) for number, body in enumerate(bodies, start=1)])


def embed(live):
    """Does what the follower does with the items that wait; returns them."""
    waiting = live.take_waiting(10)
    several = [live.texts(item_id) for item_id in waiting]
    vectors = [AXES.get(text, np.zeros(4, np.float32)) for own in several for text in own]
    ok = [text in AXES for own in several for text in own]
    made = Embedded(np.array(vectors, np.float32).reshape(-1, 4), np.array(ok, np.bool_), "e1")
    live.put_vectors(waiting, with_reviews(made, [len(own) for own in several]))
    return waiting


def vector(table, item):
    found, has = table.vectors.take(np.array([table.rows[item]]))
    return found[0] if has[0] else None


def stacked(*names):
    return np.stack([AXES[name] for name in names])


@pytest.fixture
def live():
    live = LiveItems(RULES)
    applied(live, Item("a", "own"), Item("bare"), review("u", "a", "one"))
    return live


def test_a_review_is_part_of_the_vector_of_its_item(live):
    assert sorted(embed(live)) == ["a"]
    np.testing.assert_allclose(vector(live.table, "a"), mixed(AXES["own"], stacked("one")), atol=1e-6)
    applied(live, review("v", "a", "two"), review("v", "bare", "two"), review("v", "unknown", "two"))
    assert sorted(embed(live)) == ["a", "bare"]
    np.testing.assert_allclose(vector(live.table, "a"), mixed(AXES["own"], stacked("one", "two")), atol=1e-6)
    np.testing.assert_allclose(vector(live.table, "bare"), AXES["two"], atol=1e-6)


def test_a_forgotten_user_leaves_the_vectors(live):
    applied(live, review("v", "bare", "two"))
    embed(live)
    applied(live, UserForgotten("u"), UserForgotten("v"))
    assert sorted(embed(live)) == ["a", "bare"]
    np.testing.assert_allclose(vector(live.table, "a"), AXES["own"])
    assert vector(live.table, "bare") is None


def test_a_review_that_the_bound_drops_leaves_the_vector_and_with_it_who_wrote_it(live):
    live.reviews = ItemReviews(in_all=1)
    applied(live, review("u", "a", "one"))
    embed(live)
    applied(live, review("v", "bare", "two"))
    assert sorted(embed(live)) == ["a", "bare"]
    np.testing.assert_allclose(vector(live.table, "a"), AXES["own"])


def test_a_deleted_item_leaves_its_reviews(live):
    embed(live)
    applied(live, ItemDeleted("a"), Item("a", "other"))
    embed(live)
    np.testing.assert_allclose(vector(live.table, "a"), AXES["other"])


def test_a_new_model_takes_the_reviews_up(live):
    embed(live)
    items = {"a": Item("a", "own")}
    seed = with_counts(base_table(items, Texts(), RULES), [], Texts())
    asyncio.run(live.adopt(seed))
    np.testing.assert_allclose(vector(live.table, "a"), AXES["own"])
    assert "a" in embed(live)
    np.testing.assert_allclose(vector(live.table, "a"), mixed(AXES["own"], stacked("one")), atol=1e-6)


def test_a_table_has_the_reviews_among_its_own_events_and_the_base_stays():
    base = base_table({"a": Item("a", "own"), "b": Item("b", "other")}, Texts(), RULES)
    events = [
        rating("w", "a", 5.0, 0),
        review("u", "a", "one", 1),
        review("v", "a", "two", 2),
        review("v", "b", "?", 3),
    ]
    some, every = with_counts(base, events[:2], Texts()), with_counts(base, events, Texts())
    np.testing.assert_allclose(vector(some, "a"), mixed(AXES["own"], stacked("one")), atol=1e-6)
    np.testing.assert_allclose(vector(every, "a"), mixed(AXES["own"], stacked("one", "two")), atol=1e-6)
    # A review with nothing to read has no vector.
    np.testing.assert_allclose(vector(every, "b"), AXES["other"])
    np.testing.assert_allclose(vector(base, "a"), AXES["own"])
