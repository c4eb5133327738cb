"""Select: diversity, exploration, places for new items."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ranker.pipeline.select import select
from services.ranker.settings import RankerSettings


def unit(rows: list[list[float]]) -> np.ndarray:
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def test_by_score_takes_the_best_and_keeps_the_order_of_equals():
    scores = np.array([1, 3, 2, 3], dtype=np.float32)
    assert select.by_score(scores, 3).places == [1, 3, 2]
    assert select.by_score(scores, 9).places == [1, 3, 2, 0]


def test_diversity_near_zero_is_the_order_by_score():
    scores = np.array([5, 4, 3, 2, 1], dtype=np.float32)
    vectors = unit([[1, 0], [1, 0.1], [0, 1], [1, 1], [0.5, 1]])
    assert select.diverse(scores, vectors, 5, 1e-6).places == [0, 1, 2, 3, 4]


def test_diversity_of_one_takes_what_is_unlike_the_best():
    scores = np.array([5, 4.9, 0], dtype=np.float32)
    assert select.diverse(scores, unit([[1, 0], [1, 0.01], [0, 1]]), 2, 1.0).places == [0, 2]


def test_more_diversity_never_makes_the_list_more_alike():
    random = np.random.default_rng(5)
    vectors = unit(random.normal(size=(60, 8)).tolist())
    scores = (vectors[:, 0] + 0.1 * random.normal(size=60)).astype(np.float32)

    def alike(strength: float) -> float:
        chosen = vectors[select.diverse(scores, vectors, 10, strength).places]
        return float((chosen @ chosen.T).sum())

    values = [alike(strength) for strength in (0.01, 0.5, 1.0)]
    assert values[0] > values[1] > values[2]


def test_diversity_of_nothing_and_of_equal_scores():
    empty = np.zeros(0, dtype=np.float32)
    assert select.diverse(empty, np.zeros((0, 4), dtype=np.float32), 5, 0.5).places == []
    same = select.diverse(np.ones(3, dtype=np.float32), unit([[1, 0], [0, 1], [1, 1]]), 3, 0.5)
    assert sorted(same.places) == [0, 1, 2]


def test_propensities_are_the_frequencies_of_what_is_drawn():
    scores = np.array([2.0, 1.0, 0.0], dtype=np.float32)
    random = np.random.default_rng(1)
    drawn = [select.explored(scores, 2, 1.0, random) for _ in range(8000)]
    first = Counter(one.places[0] for one in drawn)
    told = {one.places[0]: one.propensities[0] for one in drawn}
    assert sum(told.values()) == pytest.approx(1.0)
    for place, share in told.items():
        assert first[place] / len(drawn) == pytest.approx(share, abs=0.03)
    second = Counter(one.places[1] for one in drawn if one.places[0] == 0)
    conditional = {one.places[1]: one.propensities[1] for one in drawn if one.places[0] == 0}
    assert second[1] / first[0] == pytest.approx(conditional[1], abs=0.03)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.floats(-5, 5, width=32), max_size=30), st.integers(1, 40))
def test_exploring_shows_each_item_once_with_a_probability(scores, k):
    shown = select.explored(np.array(scores, dtype=np.float32), k, 0.25, np.random.default_rng(0))
    assert len(shown.places) == len(set(shown.places)) == min(k, len(scores))
    assert all(0 < p <= 1 + 1e-9 for p in shown.propensities)


def test_a_new_item_gets_the_last_place_of_ten():
    chosen = select.Selection.certain(list(range(10)))
    places = select.with_new_items(chosen, [40], 1, 20).places
    assert places == [*range(9), 40]


def test_new_items_get_one_of_every_twenty_places():
    places = select.with_new_items(select.Selection.certain(list(range(50))), [90, 91, 92], 3, 20).places
    assert len(places) == len(set(places)) == 50
    assert [places.index(new) for new in (90, 91, 92)] == [19, 39, 49]


def test_new_items_that_are_shown_already_count():
    places = select.with_new_items(select.Selection.certain([7, 1, 2]), [7, 8], 1, 20).places
    assert places == [7, 1, 2]


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, 60), st.integers(0, 10), st.integers(1, 25), st.sets(st.integers(0, 99), max_size=20))
def test_new_items_never_double_or_lengthen_a_list(count, slots, every, fitting):
    chosen = select.Selection.certain(list(range(count)))
    places = select.with_new_items(chosen, sorted(fitting), slots, every).places
    assert len(places) == len(set(places)) == count
    assert len(set(places) - set(range(count))) <= slots


@pytest.mark.parametrize(("asked", "k", "slots"), [(None, 10, 1), (None, 21, 2), (None, 1, 1), (0, 10, 0), (5, 3, 3)])
def test_slots(asked, k, slots):
    assert select.new_item_slots(asked, k, 20) == slots


def test_by_default_two_new_items_find_room_on_a_page_of_twenty():
    every = RankerSettings().new_item_every
    slots = select.new_item_slots(None, 20, every)
    places = select.with_new_items(select.Selection.certain(list(range(20))), [90, 91], slots, every).places
    assert (places[9], places[19]) == (90, 91)


def test_only_new_items_among_the_best_texts_fit():
    ranks = np.array([5, 2, 0, 1, 90], dtype=np.int32)
    assert select.fits(np.array([1, 1, 1, 0, 1], dtype=bool), ranks, 50) == [1, 0]
    assert select.fits(np.ones(5, dtype=bool), None, 50) == []


def test_many_asked_places_of_a_long_list_all_go_to_new_items():
    chosen = select.Selection.certain(list(range(500)))
    places = select.with_new_items(chosen, list(range(600, 640)), 25, 20).places
    assert [place for place in places if place >= 600] == list(range(600, 625))
    assert places[19] == 600
    assert len(set(places)) == 500
