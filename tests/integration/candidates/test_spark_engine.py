"""Spark as the engine of the matrix factorisation: the same likes, the same model out, the same contract."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.index.allowed import Allowed
from services.candidates.profile import Profile, build_profile
from services.candidates.sources.als import AlsModel, AlsSource
from services.candidates.sources.bm25 import Bm25
from services.candidates.sources.hyperparameters import Hyperparameters, SparkAlsParameters
from services.candidates.training.likes import Likes, likes_of
from shared.data.log import LogSnapshot
from shared.data.nouns import Event, EventType
from shared.data.preferences import PreferenceRules
from shared.data.splits import by_user, per_user_chronological
from shared.errors import DependencyUnavailable
from shared.testing.candidate_source import CandidateSourceContract
from shared.testing.movielens import movielens_events, movielens_items

from .spark_parts import NEEDS_SPARK, RULES, SMALL, exported, spark_als, spark_log

pytestmark = NEEDS_SPARK


def in_memory(matrix):
    matrix = sp.csr_matrix(matrix)
    users = tuple(f"{user:04}" for user in range(matrix.shape[0]))
    return Likes(
        matrix,
        np.bincount(matrix.indices, minlength=matrix.shape[1]),
        users,
        matrix.indices.astype(np.int64),
        np.zeros(matrix.nnz),
    )


def model_of(engine, likes, parameters, seed=7):
    return AlsModel.fit_with(engine, likes, parameters, seed, threads=2)


def same_likes(one, other):
    assert one.users == other.users
    assert one.matrix.shape == other.matrix.shape
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(one.matrix, name), getattr(other.matrix, name))
    np.testing.assert_array_equal(one.events, other.events)
    np.testing.assert_array_equal(one.sequence, other.sequence)
    np.testing.assert_array_equal(one.times, other.times)
    assert one.times.dtype == other.times.dtype
    assert one.matrix.dtype == other.matrix.dtype


class TestSparkAlsSource(CandidateSourceContract):
    """What Spark fits is an `AlsModel` like any other."""

    @pytest.fixture(autouse=True)
    def _session(self, spark):
        self.engine = _cached(spark)

    def fit(self, likes):
        return self.engine(likes.tobytes(), likes.shape)

    def stored(self, fitted, folder):
        fitted.save(folder)
        return AlsModel.load(folder)

    def source(self, fitted):
        index = FlatIndex(fitted.factors.shape[1])
        index.put(np.flatnonzero(fitted.known), fitted.factors[fitted.known])
        return AlsSource(fitted, index)

    def profile(self, liked):
        return Profile(liked, np.ones(len(liked), np.float32))

    def allowed(self, mask):
        return Allowed(mask)

    def oracle(self, fitted, liked):
        factors = fitted.factors.astype(np.float64)
        total, liked = len(liked), liked[liked < len(factors)]
        liked = liked[fitted.known[liked]]
        norm = fitted.bm25.k1 * (1 - fitted.bm25.b + fitted.bm25.b * total / fitted.bm25.mean_likes)
        confidence, preference = np.ones(len(factors)), np.zeros(len(factors))
        confidence[liked] = (fitted.bm25.k1 + 1) / (norm + 1) * fitted.bm25.idf[liked]
        preference[liked] = 1
        left = factors.T @ (confidence[:, None] * factors) + 100.0 * np.eye(factors.shape[1])
        scores = factors @ np.linalg.solve(left, factors.T @ (confidence * preference))
        return np.where(fitted.known, scores, np.nan).astype(np.float32)


@cache
def _cached(spark):
    """Fits each matrix once: the contract asks for the same one again and again."""
    return cache(
        lambda content, shape: model_of(
            spark_als(spark), in_memory(np.frombuffer(content, np.float32).reshape(shape)), SMALL
        )
    )


def test_the_same_seed_makes_the_same_factors_and_another_one_others(spark):
    rng = np.random.default_rng(0)
    likes = in_memory((rng.random((60, 40)) < 0.2).astype(np.float32))
    one, two, other = (spark_als(spark).fit(likes, SMALL, seed, 1).factors for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 1e-4


def test_the_factors_solve_what_mllib_says_it_solves(spark):
    """After many passes, users solved from the items and items solved from those users are the items again."""
    rng = np.random.default_rng(1)
    matrix = (rng.random((40, 25)) < 0.3).astype(np.float32)
    likes = in_memory(matrix)
    parameters = replace(SMALL, factors=3, iterations=60)
    own = SparkAlsParameters(regularization=0.2, alpha=2.0, blocks=2)
    items = spark_als(spark, own).fit(likes, parameters, 3, 1).factors.astype(np.float64)
    bm25 = Bm25.fit(likes.matrix, parameters.bm25_k1, parameters.bm25_b)
    weights = np.zeros(matrix.shape)
    for user, liked in enumerate(matrix):
        rows = np.flatnonzero(liked)
        weights[user, rows] = bm25.weights(rows, liked[rows], len(rows))

    def solved(fixed, weights):
        solutions = []
        for own_weights in weights:
            confidence = 1 + 2.0 * own_weights
            left = fixed.T @ (confidence[:, None] * fixed) + 0.2 * (own_weights > 0).sum() * np.eye(3)
            solutions.append(np.linalg.solve(left, fixed.T @ (confidence * (own_weights > 0))))
        return np.array(solutions)

    np.testing.assert_allclose(solved(solved(items, weights), weights.T), items, atol=2e-3)


def test_nobody_likes_anything(spark):
    fitted = spark_als(spark).fit(in_memory(np.zeros((3, 5), np.float32)), SMALL, 1, 1)
    assert fitted.factors.shape == (5, 8)
    assert not fitted.factors.any()


def test_weights_are_those_of_bm25(spark):
    from services.candidates.adapters.spark_als import weighted

    rng = np.random.default_rng(2)
    likes = in_memory(sp.random_array((30, 20), density=0.3, rng=rng, format="csr", dtype=np.float32))
    bm25 = Bm25.fit(likes.matrix, 10.0, 0.7)
    coordinates = likes.matrix.tocoo()
    pairs = spark.createDataFrame(
        pa.table({"user": coordinates.row, "item": coordinates.col, "strength": coordinates.data})
    )
    parameters = replace(SMALL, bm25_k1=10.0, bm25_b=0.7)
    for frame in (weighted(pairs, parameters), spark_als(spark)._sent(likes, parameters)):
        rows = frame.collect()
        found = np.zeros(likes.matrix.shape, np.float32)
        for row in rows:
            found[row.user, row.item] = row.weight
        assert len(rows) == likes.matrix.nnz
        for user, own in enumerate(likes.matrix):
            expected = bm25.weights(own.indices.astype(np.int64), own.data, own.nnz)
            np.testing.assert_allclose(found[user, own.indices], expected, rtol=1e-5)


def any_events(count=3_000):
    """Everything that can happen, in the log out of order: the same times, likes taken back, ids of all sorts."""
    draw = random.Random(5)  # noqa: S311 (not for secrets)
    items = ["1", "01", "2", "10", "B", "b", "ü", "物", "9", "a b"]
    events = []
    for number in range(count):
        kind = draw.choice(list(EventType))
        value = {
            EventType.RATING: draw.choice([1.0, 3.5, 4.0, 5.0]),
            EventType.REVIEW: draw.choice([None, 2.0, 4.0]),
            EventType.PLAY: draw.choice([None, 0.0, 0.5, 0.9]),
        }.get(kind)
        at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=draw.randrange(40), microseconds=draw.randrange(3))
        user = draw.choice(["u", "U", "ú", "é", "1", "10", "2", *(f"x{n}" for n in range(20))])
        text = "text" if kind is EventType.REVIEW else ""
        events.append(Event(f"e{number}", user, draw.choice(items), kind, at, value, text))
    return events


@pytest.mark.parametrize("rules", [RULES, PreferenceRules({EventType.PLAY: -1.0, EventType.VIEW: 0.5}, 3.0, 0.9)])
async def test_likes_are_those_that_python_judges(spark, tmp_path, rules):
    log = await exported(tmp_path, any_events())
    events = log.snapshot().events
    item_ids = sorted({event.item_id for event in events}, reverse=True)
    rows = {item_id: row for row, item_id in enumerate([*item_ids, "without events"])}
    judged = spark_log(spark, log, rules)
    assert sorted(judged.events_by_item()) == sorted(item_ids)
    expected = likes_of(events, rows, rules)
    assert expected.matrix.nnz > 50
    same_likes(judged.likes(rows), expected)


async def test_a_whole_log_from_the_store_to_the_factors(spark, tmp_path):
    log = await exported(tmp_path, movielens_events(), movielens_items())
    snapshot = log.snapshot()
    live = LogSnapshot(items=snapshot.items)
    live.events.extend(movielens_events())
    assert [(e.user_id, e.item_id, e.timestamp, e.value) for e in snapshot.events] == [
        (e.user_id, e.item_id, e.timestamp, e.value) for e in live.events
    ]
    rows = {item_id: row for row, item_id in enumerate(snapshot.items)}
    judged = spark_log(spark, log)
    likes = judged.likes(rows)
    same_likes(likes, likes_of(live.events, rows, RULES))
    # What stayed in Spark and what is sent there make the same model.
    few = replace(SMALL, iterations=2)
    stayed, sent = (spark_als(spark, log=one).fit(likes, few, 7, 1).factors for one in (judged, None))
    np.testing.assert_allclose(stayed, sent, atol=1e-4)


def test_quality_is_that_of_the_engine_in_process(spark):
    rows = {item.item_id: row for row, item in enumerate(movielens_items())}
    splits = per_user_chronological(by_user(movielens_events())).values()
    likes = likes_of([event for split in splits for event in (*split.train, *split.validation)], rows, RULES)
    model = model_of(spark_als(spark), likes, Hyperparameters().als)
    index = FlatIndex(model.factors.shape[1])
    index.put(np.arange(len(rows)), model.factors)
    source = AlsSource(model, index)
    discount = 1 / np.log2(np.arange(2, 12))
    values = []
    for split in splits:
        relevant = {rows[event.item_id] for event in split.test if RULES.signal(event) > 0}
        if relevant:
            profile = build_profile((*split.train, *split.validation), rows, RULES)
            allowed = np.ones(len(rows), bool)
            allowed[profile.seen] = False
            ranked = source.propose(profile, 10, Allowed(allowed)).rows
            gains = np.isin(ranked, list(relevant))
            values.append((discount[: len(gains)] * gains).sum() / discount[: min(10, len(relevant))].sum())
    assert len(values) == 656
    print("spark ALS, NDCG@10 warm:", np.mean(values))
    assert np.mean(values) >= 0.11


async def test_a_log_without_events(spark, tmp_path):
    log = await exported(tmp_path, [], movielens_items()[:3])
    judged = spark_log(spark, log)
    assert judged.events_by_item() == {}
    likes = judged.likes({item.item_id: row for row, item in enumerate(movielens_items()[:3])})
    assert likes.matrix.shape == (0, 3)
    assert not spark_als(spark, log=judged).fit(likes, SMALL, 7, 1).factors.any()


async def test_a_damaged_file_is_told_without_a_traceback(spark, tmp_path):
    log = await exported(tmp_path, movielens_events()[:100])
    (tmp_path / "export" / log.manifest.parts[0].name).write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DependencyUnavailable, match="the log has the reason"):
        spark_log(spark, log).events_by_item()
