"""Versions come and go under calls: published one after the other, rolled back by the command."""

from __future__ import annotations

import json
import shutil

import pytest
from fusionrec.ranker.v1 import ranker_service_pb2 as pb

from services.ranker.__main__ import main
from shared.artifacts import ArtifactStore
from shared.artifacts.manifest import MANIFEST_FILE

from .asking import ask, calling, eventually, fresh

KIND = "ranker"


@pytest.fixture
def store(trained, ranker):
    """The store of the running ranker; afterwards it is as it was, and served so."""
    made = ArtifactStore(trained.environment["RANKER_ARTIFACTS"])
    before, current = made.versions(KIND), made.current(KIND)
    yield made
    made.set_current(KIND, current)
    eventually(lambda: served(ranker) == current)
    for version in set(made.versions(KIND)) - set(before):
        made.delete(KIND, version)


@pytest.fixture
def folder(store, tmp_path):
    """The files of the current version, to be published again."""
    made = store.load(KIND).folder
    return shutil.copytree(made, tmp_path / "made", ignore=shutil.ignore_patterns(MANIFEST_FILE))


def served(ranker):
    return ranker.GetModelInfo(pb.GetModelInfoRequest()).model_version


def test_three_versions_and_the_way_back_without_a_failed_call(trained, ranker, store, folder, monkeypatch):
    monkeypatch.setenv("RANKER_ARTIFACTS", trained.environment["RANKER_ARTIFACTS"])
    of = store.load(KIND).manifest
    before = of.version

    def answered(version):
        def check():
            answer = ask(ranker, k=5, filter=fresh(), skip_impressions=True)
            return version in {one.version for one in answer.served_by.models}

        eventually(check)
        assert served(ranker) == version

    with calling(ranker) as (versions, failures):
        published = []
        for _ in range(3):
            made = store.publish(KIND, folder, labels=of.labels, lineage=of.lineage, data=of.data, metrics=of.metrics)
            published.append(made.version)
            answered(made.version)
        ended = trained.job("ranker", "rollback")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith(f"{published[1]} before={published[2]} protocol=warm stage=serving")
        answered(published[1])
        assert main(["rollback", before]) == 0
        answered(before)
    assert failures == []
    assert list(versions) == [before, *published]


def test_a_model_of_another_encoder_than_the_current_one_says_so(ranker, store, folder):
    info = ranker.GetModelInfo(pb.GetModelInfoRequest())
    assert info.status_reason == ""
    names = folder / "items" / "items.json"
    names.write_text(json.dumps({**json.loads(names.read_text()), "embedding_version": "an-older-one"}))
    version = store.publish(KIND, folder, labels={"stage": "serving"}).version
    eventually(lambda: served(ranker) == version)
    told = ranker.GetModelInfo(pb.GetModelInfoRequest()).status_reason
    assert told == f"embedding {info.embedding_version} is current, this model uses an-older-one: train anew to use it"
    # Nor of a version that is asked for by name: who does knows what it is.
    assert ranker.GetModelInfo(pb.GetModelInfoRequest(model_version=info.model_version)).status_reason == ""


def test_a_model_of_another_feature_registry_is_told_of_and_not_taken(ranker, store, folder):
    before = served(ranker)
    model = json.loads((folder / "model.json").read_text())
    model["features"] = ["moon_phase", *model["features"][1:]]
    (folder / "model.json").write_text(json.dumps(model))
    version = store.publish(KIND, folder, labels={"stage": "serving"}).version

    def reason():
        return ranker.GetModelInfo(pb.GetModelInfoRequest()).status_reason

    told = eventually(reason)
    assert told.startswith(f"ranker {version} was trained on another feature registry")
    assert "unknown here are moon_phase" in told
    assert served(ranker) == before
    assert len(ask(ranker, filter=fresh()).results) == 10
    store.set_current(KIND, before)
    eventually(lambda: not reason())
