"""`python -m services.candidates train`: what it refuses, what it says, what it publishes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.index.parameters import IndexParameters
from services.candidates.profile import Profile
from services.candidates.training.job import NothingToLearn
from services.candidates.versions.files import open_version
from services.candidates.versions.version import KIND
from services.ingestion.bootstrap import build as build_ingestion
from services.ingestion.settings import IngestionSettings
from shared.data.nouns import Event, EventType, Item
from shared.data.splits import Protocol, Stage, hidden_items
from shared.errors import FusionrecError
from shared.rpc.feed import LogFeed, read_snapshot
from shared.testing.processes import ROOT
from shared.testing.servers import served


@pytest.fixture
async def ingestion(tmp_path):
    settings = IngestionSettings(port=0, metrics_port=0, store=f"sqlite:///{tmp_path / 'new.db'}", grace_s=1)
    async with served(build_ingestion(settings), settings, "ingestion") as running:
        yield running


@pytest.fixture
def run(tmp_path):
    async def run(address, *arguments):
        """Runs the job as a process; returns its exit code and standard error."""
        own = {
            "CANDIDATES_INGESTION_ADDRESS": address,
            "CANDIDATES_EMBEDDING_ADDRESS": "127.0.0.1:1",
            "CANDIDATES_ARTIFACTS": str(tmp_path / "artifacts"),
        }
        command = [sys.executable, "-m", "services.candidates", "train", "--protocol", "warm", *arguments]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env={**os.environ, **own}, stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        return process.returncode, said.decode()

    return run


async def test_without_events_it_says_what_to_do(run, ingestion):
    code, said = await run(ingestion.address)
    assert code == 2
    assert "fusionrec import events FILE" in said


async def test_without_a_catalogue_it_says_what_to_do(world):
    snapshot = await read_snapshot(LogFeed(world.ingestion_channel))
    snapshot.items.clear()
    with pytest.raises(NothingToLearn, match="fusionrec import items FILE"):
        await world.job().run(Protocol.WARM, [Stage.SERVING], snapshot)


async def test_without_positives_it_says_what_counts(world):
    snapshot = await read_snapshot(LogFeed(world.ingestion_channel))
    snapshot.events[:] = [event for event in snapshot.events if event.value < 4]
    with pytest.raises(NothingToLearn, match="ratings count from 4 on"):
        await world.job().run(Protocol.WARM, [Stage.SERVING], snapshot)


async def test_without_embedding_it_fails_by_name(run, world):
    code, said = await run(world.ingestion_address, "--progress", "json")
    assert code == 1
    lines = said.strip().splitlines()
    assert "embedding does not answer" in lines[-1]
    progress = [json.loads(line) for line in lines[:-1]]
    assert {"stage", "done", "total"} == set(progress[0])
    assert progress[0]["stage"] == "read"


async def test_without_ingestion_it_fails_by_name(run):
    code, said = await run("127.0.0.1:1")
    assert code == 1
    assert "ingestion does not answer" in said


async def test_a_stage_that_the_protocol_has_not_is_refused(run):
    code, said = await run("127.0.0.1:1", "--stages", "fit,everything")
    assert code == 2
    assert "fit, test, serving" in said


async def test_the_same_log_trains_the_same_models(world):
    one, two = await world.train(), await world.train()
    versions = [
        open_version(world.store.load(KIND, manifest.version), FlatIndex, FaissIndexes(IndexParameters()))
        for (manifest,) in (one, two)
    ]
    rows = np.arange(60)
    first, second = (version.spaces.cf.vectors(rows) for version in versions)
    np.testing.assert_array_equal(first, second)
    assert one[0].config_hash == two[0].config_hash


async def test_hidden_items_are_in_the_catalogue_and_in_no_training(world):
    (manifest,) = await world.train(Protocol.NEW_ITEMS, stages=(Stage.TEST,))
    snapshot = await read_snapshot(LogFeed(world.ingestion_channel))
    hidden = hidden_items(event for event in snapshot.events if event.value >= 4)
    version = open_version(world.store.load(KIND, manifest.version), FlatIndex, FaissIndexes(IndexParameters()))
    rows = np.array([version.table.rows[item_id] for item_id in hidden])
    assert len(rows) > 5
    assert version.is_new(rows).all()
    assert (version.sources["popular"].score(Profile(rows[:0], np.zeros(0, np.float32)), rows) == 0).all()
    assert not np.isnan(version.spaces.cf.vectors(rows)).any()
    others = np.setdiff1d(np.arange(60), rows)
    assert not version.is_new(others).any()


async def test_the_manifest_names_data_split_and_lineage(world):
    manifests = await world.train(Protocol.WARM, stages=(Stage.FIT, Stage.SERVING))
    snapshot = await read_snapshot(LogFeed(world.ingestion_channel))
    *folds, serving = manifests
    assert serving.data["sequence"] == snapshot.sequence
    assert serving.data["cursor"] == snapshot.cursor
    assert (serving.data["events"], serving.data["items"]) == (len(snapshot.events), 60)
    assert serving.lineage == {"embedding": "hashing-1"}
    cold = folds[-1].data["split"]
    assert cold["fold"] == "cold"
    assert cold["hidden_users"] == round(0.3 * 36)
    assert cold["hidden_items"] > 0
    assert world.store.current(KIND) == serving.version


async def test_events_of_items_outside_of_the_catalogue_train_but_are_not_recommended(world):
    made = [Event(f"x{n}", f"user-{n}", "ghost", EventType.LIKE, _time(n)) for n in range(20)]
    await world.write_events(*made)
    await world.write_items(Item("quiet", ""))
    await world.train()
    async with world.candidates() as client:
        ids = await client.ids("nobody", k=100)
        assert "ghost" not in ids
        assert "quiet" in ids
        assert len(ids) == 61


def _time(number):
    return datetime(2021, 1, 1 + number, tzinfo=UTC)


async def test_a_source_that_cannot_be_trained_here_is_told_before_texts_are_embedded(world, monkeypatch):
    monkeypatch.setattr("services.candidates.sources.two_tower.find_spec", lambda _name: None)
    calls = []
    embed = world.embedder.embed

    async def counted(*arguments, **options):
        calls.append(1)
        return await embed(*arguments, **options)

    monkeypatch.setattr(world.embedder, "embed", counted)
    snapshot = await read_snapshot(LogFeed(world.ingestion_channel))
    job = replace(world.job(), sources=("als", "two_tower"))
    with pytest.raises(FusionrecError, match="candidates-two-tower"):
        await job.run(Protocol.WARM, (Stage.SERVING,), snapshot)
    assert not calls
