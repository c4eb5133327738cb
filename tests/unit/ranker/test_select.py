"""Select: by score, diversity, calibration, caps, places for new items."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ranker.pipeline.select.calibration import Calibration, category_mix, divergence
from services.ranker.pipeline.select.caps import Caps
from services.ranker.pipeline.select.dpp import RIDGE, Volume
from services.ranker.pipeline.select.explore import standardised
from services.ranker.pipeline.select.greedy import greedy, scaled
from services.ranker.pipeline.select.mmr import NearestTaken
from services.ranker.pipeline.select.new_items import fits, new_item_slots, with_new_items
from services.ranker.pipeline.select.selection import order_by_score
from services.ranker.settings import RankerSettings

GENRES = ("a", "b", "c", "d")


def unit(rows) -> np.ndarray:
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def free(count: int) -> Caps:
    return Caps.of([], {}, None, count=count)


def terms_of(method: str, vectors, k: int, strength: float):
    known = np.ones(len(vectors), dtype=bool)
    return [(strength, Volume(vectors, known, k) if method == "dpp" else NearestTaken(vectors))]


def chosen(scores, k, terms, weight=1.0, caps=None) -> list[int]:
    """As the selector does it: best first, then back to the places of `scores`."""
    scores = np.asarray(scores, dtype=np.float32)
    return greedy(scaled(scores), weight, terms, k, caps or free(len(scores)))


def diverse(scores, vectors, k, strength, method="mmr") -> list[int]:
    order = order_by_score(np.asarray(scores, dtype=np.float32))
    shown = chosen(np.asarray(scores)[order], k, terms_of(method, vectors[order], k, strength), 1 - strength)
    return [order[place] for place in shown]


def log_det(vectors, places) -> float:
    own = vectors[places].astype(np.float64)
    kernel = (1 - RIDGE) * own @ own.T + RIDGE * np.eye(len(places))
    np.fill_diagonal(kernel, 1.0)
    return float(np.linalg.slogdet(kernel)[1])


def test_by_score_takes_the_best_and_keeps_the_order_of_equals():
    assert order_by_score(np.array([1, 3, 2, 3], dtype=np.float32)) == [1, 3, 2, 0]


@pytest.mark.parametrize("method", ["mmr", "dpp"])
@given(seed=st.integers(0, 1000), count=st.integers(0, 40), k=st.integers(1, 50))
@settings(deadline=None, max_examples=30)  # the machine may be busy
def test_a_dial_at_zero_is_the_order_by_score(method, seed, count, k):
    random = np.random.default_rng(seed)
    scores, vectors = random.normal(size=count).astype(np.float32), unit(random.normal(size=(count, 5)))
    assert diverse(scores, vectors, k, 0.0, method) == order_by_score(scores)[:k]


def test_what_is_pinned_does_not_set_the_scale():
    scores = np.array([3, 2, 1, 1000], dtype=np.float32)
    assert scaled(scores, 3)[:3].tolist() == [1, 0.5, 0]
    assert standardised(scores, 3)[:3] == pytest.approx(standardised(scores[:3]))
    assert len(scaled(scores, 0)) == len(standardised(scores, 0)) == 4


@pytest.mark.parametrize("method", ["mmr", "dpp"])
def test_diversity_of_one_takes_what_is_unlike_the_best(method):
    assert diverse([5, 4.9, 0], unit([[1, 0], [1, 0.01], [0, 1]]), 2, 1.0, method) == [0, 2]


@pytest.mark.parametrize("method", ["mmr", "dpp"])
def test_more_diversity_never_makes_the_list_more_alike(method):
    random = np.random.default_rng(5)
    vectors = unit(random.normal(size=(60, 8)))
    scores = (vectors[:, 0] + 0.1 * random.normal(size=60)).astype(np.float32)

    def alike(strength: float) -> float:
        shown = vectors[diverse(scores, vectors, 10, strength, method)]
        return float((shown @ shown.T).sum())

    values = [alike(strength) for strength in (0.01, 0.5, 1.0)]
    assert values[0] > values[1] > values[2]


@pytest.mark.parametrize("method", ["mmr", "dpp"])
def test_diversity_of_nothing_of_equal_scores_and_of_twins(method):
    assert diverse([], np.zeros((0, 4), dtype=np.float32), 5, 0.5, method) == []
    assert sorted(diverse(np.ones(3), unit([[1, 0], [0, 1], [1, 1]]), 3, 0.5, method)) == [0, 1, 2]
    assert sorted(diverse([3, 2, 1], unit([[1, 0]] * 3), 3, 1.0, method)) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(8))
def test_dpp_spans_more_than_mmr_and_nearly_what_is_possible(seed):
    random = np.random.default_rng(seed)
    vectors = unit(random.normal(size=(12, 5)))
    scores = np.zeros(12)
    by_dpp = log_det(vectors, diverse(scores, vectors, 4, 1.0, "dpp"))
    by_mmr = log_det(vectors, diverse(scores, vectors, 4, 1.0, "mmr"))
    # Both begin with the first item, so that is what is possible to them.
    best = max(log_det(vectors, [0, *rest]) for rest in combinations(range(1, 12), 3))
    assert by_mmr <= by_dpp + 1e-6 <= best + 1e-5
    assert by_dpp - best > np.log(0.5)


def test_the_volume_is_the_determinant():
    vectors = unit(np.random.default_rng(3).normal(size=(9, 4)))
    term = Volume(vectors, np.ones(9, dtype=bool), 6)
    total = 0.0
    for place in (2, 7, 0, 5):
        total += float(term.gains()[place])
        term.take(place)
    assert total == pytest.approx(log_det(vectors, [2, 7, 0, 5]), abs=1e-4)


def test_items_without_a_vector_are_unlike_all_others():
    vectors = np.zeros((3, 4), dtype=np.float32)
    term = Volume(vectors, np.zeros(3, dtype=bool), 3)
    term.take(0)
    assert term.gains()[1:].tolist() == [0.0, 0.0]


@given(seed=st.integers(0, 500), strength=st.sampled_from([0.3, 0.6, 0.95]))
@settings(deadline=None, max_examples=30)  # the machine may be busy
def test_calibration_brings_the_list_nearer_to_the_users_mix(seed, strength):
    random = np.random.default_rng(seed)
    categories = [tuple(random.choice(GENRES, size=random.integers(0, 3), replace=False)) for _ in range(40)]
    mix = category_mix([("a",), ("a",), ("b",)])
    scores = np.sort(random.normal(size=40))[::-1]
    plain = chosen(scores, 10, [])
    calibrated = chosen(scores, 10, [(strength, Calibration(mix, categories))], 1 - strength)
    assert len(set(calibrated)) == 10
    held, wanted = (divergence(mix, [categories[place] for place in places]) for places in (plain, calibrated))
    assert wanted <= held + 1e-9


def test_the_mix_divides_an_item_among_its_categories():
    assert category_mix([("a", "b"), ("a",)]) == pytest.approx({"a": 0.75, "b": 0.25})
    assert category_mix([]) == {}
    assert len(category_mix([(f"c{n}",) for n in range(100)])) == 32
    assert divergence({"a": 1.0}, [("a",)]) == pytest.approx(0, abs=1e-9)
    assert divergence({"a": 1.0}, [("b",)]) > 1


@given(
    st.lists(st.lists(st.sampled_from(GENRES), max_size=3, unique=True), max_size=30),
    st.dictionaries(st.sampled_from(GENRES), st.integers(0, 3)),
    st.one_of(st.none(), st.integers(1, 4)),
    st.integers(1, 30),
    st.sampled_from(["", "mmr", "dpp"]),
)
@settings(deadline=None)  # the machine may be busy
def test_caps_hold_no_item_comes_twice_and_nothing_allowed_is_left_out(categories, own, default, k, method):
    count = len(categories)
    caps = Caps.of(categories, own, default)
    vectors = unit(np.random.default_rng(0).normal(size=(count, 4)).reshape(count, 4))
    terms = terms_of(method, vectors, k, 0.5) if method and count else []
    shown = chosen(np.arange(count)[::-1], k, terms, 0.5, caps)
    assert len(shown) == len(set(shown)) <= k

    def within(places):
        names = [name for place in places for name in categories[place]]
        return all(names.count(one) <= own.get(one, default if default is not None else count) for one in set(names))

    assert within(shown)
    if len(shown) < min(k, count):
        assert not any(within([*shown, more]) for more in set(range(count)) - set(shown))


def test_a_new_item_gets_the_last_place_of_ten():
    places = with_new_items(range(10), [40], 1, 20)
    assert places == [*range(9), 40]


def test_new_items_get_one_of_every_twenty_places():
    places = with_new_items(range(50), [90, 91, 92], 3, 20)
    assert len(places) == len(set(places)) == 50
    assert [places.index(new) for new in (90, 91, 92)] == [19, 39, 49]


def test_new_items_that_are_shown_already_count():
    places = with_new_items([7, 1, 2], [7, 8], 1, 20)
    assert places == [7, 1, 2]


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, 60), st.integers(0, 10), st.integers(1, 25), st.sets(st.integers(0, 99), max_size=20))
def test_new_items_never_double_or_lengthen_a_list(count, slots, every, fitting):
    places = with_new_items(range(count), sorted(fitting), slots, every)
    assert len(places) == len(set(places)) == count
    assert len(set(places) - set(range(count))) <= slots


@pytest.mark.parametrize(("asked", "k", "slots"), [(None, 10, 1), (None, 21, 2), (None, 1, 1), (0, 10, 0), (5, 3, 3)])
def test_slots(asked, k, slots):
    assert new_item_slots(asked, None, k, 20) == slots


@pytest.mark.parametrize(("share", "k", "slots"), [(0.3, 10, 3), (0.0, 10, 0), (1.0, 4, 4), (0.21, 10, 3)])
def test_slots_of_a_share(share, k, slots):
    assert new_item_slots(None, share, k, 20) == slots


def test_new_items_that_would_break_a_cap_are_passed_over():
    places = with_new_items(range(10), [40, 41], 1, 10, holds=lambda shown: 40 not in shown)
    assert places == [*range(9), 41]


def test_by_default_two_new_items_find_room_on_a_page_of_twenty():
    every = RankerSettings().new_item_every
    slots = new_item_slots(None, None, 20, every)
    places = with_new_items(range(20), [90, 91], slots, every)
    assert (places[9], places[19]) == (90, 91)


def test_only_new_items_among_the_best_texts_fit():
    ranks = np.array([5, 2, 0, 1, 90], dtype=np.int32)
    assert fits(np.array([1, 1, 1, 0, 1], dtype=bool), ranks, 50) == [1, 0]
    assert fits(np.ones(5, dtype=bool), None, 50) == []


def test_many_asked_places_of_a_long_list_all_go_to_new_items():
    places = with_new_items(range(500), list(range(600, 640)), 25, 20)
    assert [place for place in places if place >= 600] == list(range(600, 625))
    assert places[19] == 600
    assert len(set(places)) == 500
