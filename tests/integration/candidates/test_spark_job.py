"""Training on Spark from end to end: the job's versions are served, the command publishes them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.adapters.spark_java import java_home
from services.candidates.index.allowed import Allowed
from services.candidates.index.parameters import IndexParameters
from services.candidates.profile import build_profile
from services.candidates.sources.hyperparameters import Hyperparameters
from services.candidates.training.job import TrainingJob
from services.candidates.versions.files import open_version
from services.candidates.versions.version import KIND
from shared.artifacts import ArtifactStore
from shared.testing.hashing_embedder import HashingEmbedder
from shared.testing.movielens import movielens_events, movielens_items
from shared.testing.processes import ROOT, ServiceProcess
from shared.testing.tiny_encoder import write_tiny_encoder

from .spark_parts import NEEDS_SPARK, RULES, SMALL, Silent, exported, spark_als, spark_log

pytestmark = NEEDS_SPARK


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
