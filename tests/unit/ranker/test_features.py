"""Features: one computation for training and serving."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from services.ranker.features.compute import FeatureInputs, compute, ranking_input
from services.ranker.features.profile import TextProfile, UserProfile
from services.ranker.features.registry import FEATURES, INDEX, LANGUAGE_MODEL, NAMES
from services.ranker.features.sources import place_in_list, relative_in_list
from services.ranker.nouns import CandidateTable
from shared.data.nouns import EventType, Item, Temperature
from shared.data.texts import profile_texts

from .samples import RULES, START, seen

DAY = 86_400


def candidates(*item_ids: str) -> CandidateTable:
    count = len(item_ids)
    als = np.array([3.0, np.nan, 1.0, 2.0][:count], dtype=np.float32)
    return CandidateTable(
        list(item_ids),
        np.linspace(1, 0.1, count, dtype=np.float32),
        np.zeros(count, dtype=bool),
        {"als": als, "aligned_text": np.arange(count, dtype=np.float32)},
        {"als": np.arange(count, dtype=np.int32), "aligned_text": np.ones(count, dtype=np.int32)},
    )


@pytest.fixture
def inputs(table) -> FeatureInputs:
    profile = UserProfile.of([seen("c", 5, 1), seen("b", 4, 2), seen("d", 1, 3)], RULES)
    texts = TextProfile(np.array([[0, 0, 1], [0.8, 0.6, 0]], dtype=np.float32))
    at = int((START + timedelta(days=500)).timestamp())
    return FeatureInputs(table, candidates("a", "b", "c", "unknown"), profile, texts, at)


def column(inputs: FeatureInputs, name: str) -> np.ndarray:
    return compute(inputs)[:, INDEX[name]]


def test_the_registry_names_each_feature_once_and_every_group():
    assert len(set(NAMES)) == len(NAMES) == len(FEATURES)
    assert {feature.group for feature in FEATURES} == {"cf", "text", "popularity", "context"}
    assert all(feature.unit and feature.description for feature in FEATURES)


def test_shape_and_order(inputs):
    made = compute(inputs)
    assert made.shape == (4, len(NAMES))
    assert made.dtype == np.float32


def test_source_scores_and_places_within_the_list(inputs):
    assert np.array_equal(column(inputs, "als_score"), [3, np.nan, 1, 2], equal_nan=True)
    assert np.array_equal(column(inputs, "als_place"), np.log1p([0, np.nan, 2, 1]).astype(np.float32), equal_nan=True)
    assert column(inputs, "has_cf").tolist() == [1, 0, 1, 1]
    assert np.isnan(column(inputs, "item_item_score")).all()


def test_language_model_similarities(inputs):
    best, last = column(inputs, "lm_best"), column(inputs, "lm_last")
    assert best[:3] == pytest.approx([0.8, 1.0, 1.0])
    assert last[:3] == pytest.approx([0.8, 1.0, 0.0])
    assert np.isnan(best[3])
    assert column(inputs, "lm_mean")[:3] == pytest.approx([0.4, 0.5, 0.5])


def test_without_the_language_model_exactly_its_features_are_missing(inputs):
    with_it, without = compute(inputs), compute(replace(inputs, language_model=False))
    own = [INDEX[name] for name in LANGUAGE_MODEL]
    others = [place for place in range(len(NAMES)) if place not in own]
    assert np.isnan(without[:, own]).all()
    np.testing.assert_array_equal(with_it[:, others], without[:, others])


def test_liked_and_disliked_items_count_with_their_sign(inputs):
    profile = UserProfile.of([seen("a", 1, 1), seen("c", 5, 2)], RULES)
    own = replace(inputs, profile=profile)
    assert column(own, "lm_liked")[:3] == pytest.approx([0, 0, 1], abs=1e-6)
    assert column(own, "lm_disliked")[:3] == pytest.approx([1, 0.8, 0], abs=1e-6)
    assert column(own, "lm_disliked_best")[:3] == pytest.approx([1, 0.8, 0], abs=1e-6)
    assert column(own, "lm_affinity")[:3] == pytest.approx([-1, -0.8, 1], abs=1e-6)
    attention = column(own, "lm_attention")
    assert attention[0] < 0 < attention[2]
    assert np.isnan(attention[3])


def test_an_item_liked_more_and_later_weighs_more(inputs):
    often = UserProfile.of([seen("a", 5, 1), *(seen(f"x{n}", 3, 2) for n in range(30)), seen("c", 5, 3)], RULES)
    older, newer = column(replace(inputs, profile=often), "lm_liked")[[0, 2]]
    assert newer > 2 * older
    rated = UserProfile.of([seen("a", 5, 1), seen("c", 4, 1)], RULES)
    higher, lower = column(replace(inputs, profile=rated), "lm_liked")[[0, 2]]
    assert higher > lower


def test_reviews_are_told_apart_from_titles(inputs):
    assert np.isnan(column(inputs, "lm_review")).all()
    texts = replace(inputs.texts, reviews=1)
    assert column(replace(inputs, texts=texts), "lm_review")[:3] == pytest.approx([0, 0, 1], abs=1e-6)


def test_the_session_is_the_half_hour_before_the_question(inputs):
    profile = UserProfile.of([seen("c", 5, 1), seen("a", 5, 3)], RULES)
    at = int((START + timedelta(days=3, minutes=10)).timestamp())
    own = replace(inputs, profile=profile, at_second=at)
    assert column(own, "session_events")[0] == pytest.approx(np.log1p(1))
    assert column(own, "lm_session")[:3] == pytest.approx([1, 0.8, 0], abs=1e-6)
    assert column(own, "category_session")[:3] == pytest.approx([1, 1, 0])
    assert column(own, "since_last_event")[0] == pytest.approx(np.log1p(1 / 6))
    later = replace(own, at_second=at + 3_600)
    assert column(later, "session_events")[0] == 0
    assert np.isnan(column(later, "lm_session")).all()
    assert np.isnan(column(later, "category_session")).all()


def test_when_an_item_was_liked_first_and_last(inputs):
    inputs.table.popularity.settle()
    assert column(inputs, "days_known")[:2] == pytest.approx(np.log1p([500, 490]), abs=1e-3)
    assert column(inputs, "since_liked")[:2] == pytest.approx(np.log1p([100, 490]), abs=1e-3)
    assert np.isnan(column(inputs, "since_liked")[[2, 3]]).all()
    early = replace(inputs, at_second=int(START.timestamp()) + 5 * DAY)
    assert column(early, "since_liked")[0] == pytest.approx(np.log1p(5), abs=1e-3)


def test_a_source_that_is_not_asked_is_missing(inputs):
    for name in ("trending_score", "user_knn_place", "two_tower_relative"):
        assert np.isnan(column(inputs, name)).all()
    asked = {**inputs.candidates.scores, "user_knn": np.array([1, 2, np.nan, 0], dtype=np.float32)}
    own = replace(inputs, candidates=replace(inputs.candidates, scores=asked))
    assert column(own, "user_knn_place")[:2] == pytest.approx(np.log1p([1, 0]))
    assert column(own, "has_cf").tolist() == [1, 1, 1, 1]


def test_vectors_are_handed_on_with_the_features(inputs):
    made = ranking_input(inputs)
    assert made.items.shape == (4, 3)
    assert not made.items[3].any()
    assert len(made.history) == len(made.weights) == 2
    assert (made.weights > 0).all()
    without = ranking_input(replace(inputs, language_model=False))
    assert without.items.shape == (4, 0)
    assert len(without.history) == 0


def test_popularity_ends_at_the_time_of_the_question(inputs):
    assert column(inputs, "popularity")[:2] == pytest.approx(np.log1p([2, 1]))
    assert column(inputs, "popularity_before")[0] == pytest.approx(np.log1p(2))
    early = replace(inputs, at_second=int(START.timestamp()) + 5 * DAY)
    assert column(early, "popularity_before")[0] == pytest.approx(np.log1p(1))
    assert column(inputs, "popularity_year")[0] == pytest.approx(np.log1p(1))


def test_years(inputs):
    assert np.array_equal(column(inputs, "year"), [1979, 1985, 1942, np.nan], equal_nan=True)
    assert column(inputs, "age")[0] == pytest.approx(2021.37 - 1979, abs=0.02)
    assert column(inputs, "year_distance")[0] == pytest.approx(1979 - (1942 + 1985) / 2)


def test_liked_categories_are_worth_more_than_others(inputs):
    taste = column(inputs, "category_taste_mean")
    assert taste[2] > taste[0]
    assert column(inputs, "category_count").tolist() == [2, 1, 2, 0]


def test_items_that_bring_columns_while_features_are_computed(inputs, monkeypatch):
    expected = compute(inputs)
    attributes = inputs.table.attributes
    for name in ("categories", "numbers"):
        original = getattr(attributes, name)

        def meanwhile(rows, width, original=original, name=name):
            made = original(rows, width)
            turn = len(attributes.category_columns)
            attributes.put(9, Item("later", categories=(f"new-{turn}",), attributes={f"{name}-{turn}": 1.0}))
            return made

        monkeypatch.setattr(attributes, name, meanwhile)
    np.testing.assert_array_equal(compute(inputs), expected)
    assert len(attributes.category_columns) > 5


def test_the_order_of_the_candidates_does_not_matter(inputs):
    order = np.array([2, 0, 3, 1], dtype=np.intp)
    turned = replace(inputs, candidates=inputs.candidates.take(order))
    np.testing.assert_allclose(compute(turned), compute(inputs)[order], rtol=1e-6)


def test_an_empty_history_and_no_candidates(inputs):
    nobody = replace(inputs, profile=UserProfile.of([], RULES), texts=None)
    assert np.isnan(column(nobody, "category_taste")).all()
    assert column(nobody, "history_likes").tolist() == [0, 0, 0, 0]
    assert np.isnan(column(nobody, "lm_best")).all()
    none = replace(inputs, candidates=CandidateTable.plain([], np.zeros(0, dtype=np.float32)))
    assert compute(none).shape == (0, len(NAMES))


def test_places_and_relative_values():
    values = np.array([1, 5, np.nan, 5, 2], dtype=np.float32)
    assert np.expm1(place_in_list(values)) == pytest.approx([3, 0, 4, 0, 2])
    relative = relative_in_list(values)
    assert np.isnan(relative[2])
    assert float(np.nanmean(relative)) == pytest.approx(0, abs=1e-6)
    assert relative_in_list(np.array([2, 2, np.nan], dtype=np.float32))[:2].tolist() == [0, 0]


def test_a_profile_reads_the_preferences():
    history = [
        seen("a", 5, 1), seen("b", 2, 2), seen("c", kind=EventType.LIKE, day=3), seen("a", 4, 4),
        seen("x", kind=EventType.IMPRESSION, day=5), seen("d", kind=EventType.REVIEW, day=6, text="lovely"),
    ]  # fmt: skip
    profile = UserProfile.of(history, RULES)
    assert profile.liked == ("c", "a", "d")
    assert profile.rated == (("a", 5), ("b", 2), ("a", 4))
    assert profile.reviews == ("lovely",)
    assert profile.events == 5
    assert profile.temperature is Temperature.WARM


def test_profile_texts_are_the_newest_and_keep_room_for_reviews():
    likes = [f"like {n}" for n in range(30)]
    assert profile_texts(likes, [], 20) == likes[-20:]
    with_reviews = profile_texts(likes, [f"review {n}" for n in range(9)], 20)
    assert with_reviews == [f"review {n}" for n in range(4, 9)] + likes[-15:]
    assert profile_texts(["", "x", ""], [], 20) == ["x"]


def test_newer_texts_weigh_more():
    weights = TextProfile(np.eye(12, dtype=np.float32)).weights
    assert weights.sum() == pytest.approx(1)
    assert weights[1] == pytest.approx(weights[11] / 2)
