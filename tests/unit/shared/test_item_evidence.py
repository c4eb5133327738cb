from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from shared.data.item_evidence import MAX_SHARE, ItemReviews, mixed, review_texts
from shared.data.nouns import Event, EventType

START = datetime(2024, 1, 1, tzinfo=UTC)


def review(number, user="u", item="i", text="words", kind=EventType.REVIEW):
    return Event(f"e{number}", user, item, kind, START + timedelta(days=number), text=text)


def reviews(*events, **bounds):
    found = ItemReviews(**bounds)
    for event in events:
        found.add(event)
    return found


X, Y = np.eye(2, dtype=np.float32)


def test_only_reviews_with_words_are_kept():
    found = ItemReviews()
    assert found.add(review(1, text=" good ")) == ["i"]
    assert not found.add(review(2, text=" \n"))
    assert not found.add(review(3, kind=EventType.LIKE))
    assert found.texts("i") == ("good",)
    assert found.texts("unknown") == ()


def test_a_bad_review_describes_the_item_as_well():
    bad = Event("e", "u", "i", EventType.REVIEW, START, 1.0, text="awful western")
    assert reviews(bad).texts("i") == ("awful western",)


def test_the_newest_of_each_item_one_of_each_user():
    found = reviews(*(review(n, f"u{n}", text=str(n)) for n in range(5)), review(9, "u3", text="again"), per_item=3)
    assert found.texts("i") == ("2", "4", "again")
    assert len(found) == 3


def test_all_together_are_bounded_and_the_items_reviewed_longest_ago_go():
    found = reviews(
        review(1, "a", "old"), review(2, "b", "old"), review(3, "a", "mid"), review(4, "a", "new"), in_all=2
    )
    assert list(found) == ["mid", "new"]
    assert len(found) == 2


def test_items_whose_reviews_are_dropped_are_told_so_that_their_vectors_are_made_anew():
    found = reviews(review(1, "a", "old"), review(2, "b", "mid"), in_all=2)
    assert found.add(review(3, "c", "new")) == ["new", "old"]
    assert found.add(review(4, "d", "mid")) == ["mid", "new"]
    assert reviews(in_all=1).add(review(1, "a", "x")) == ["x"]


def test_a_forgotten_user_and_a_deleted_item_leave_nothing():
    found = reviews(review(1, "a", "x", "one"), review(2, "b", "x", "two"), review(3, "a", "y", "three"))
    assert sorted(found.forget("a")) == ["x", "y"]
    assert (found.texts("x"), found.texts("y"), len(found)) == (("two",), (), 1)
    assert found.forget("a") == []
    found.remove("x")
    assert (list(found), len(found)) == ([], 0)


def test_of_events_in_any_order_and_there_and_back():
    events = [review(2, "b", text="two"), review(1, "a", text="one"), review(3, kind=EventType.LIKE)]
    found = ItemReviews.of(events)
    assert found.texts("i") == ("one", "two")
    again = ItemReviews.from_json(found.to_json())
    assert (again.to_json(), len(again)) == (found.to_json(), 2)
    assert review_texts([found, again]) == ["one", "two"]


def test_reviews_move_an_item_the_more_there_are_and_never_past_their_share():
    moved = [mixed(X, np.tile(Y, (count, 1))) for count in (0, 1, 4, 1_000)]
    assert moved[0] is X
    assert [vector[1] for vector in moved] == sorted(vector[1] for vector in moved)
    assert all(np.linalg.norm(vector) == pytest.approx(1, abs=1e-6) for vector in moved)
    assert all(vector[1] / vector[0] <= MAX_SHARE / (1 - MAX_SHARE) + 1e-6 for vector in moved)


def test_an_item_without_a_text_is_what_its_reviews_say():
    np.testing.assert_allclose(mixed(None, np.stack([X, Y])), [0.5**0.5] * 2, atol=1e-6)
    with pytest.raises(ValueError, match="no vector"):
        mixed(None, np.empty((0, 2), np.float32))
