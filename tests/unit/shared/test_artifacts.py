"""Artifacts: whole or not there, verified on load, swapped atomically. In a folder and behind an fsspec URL."""

from __future__ import annotations

import json

import pytest

from shared.artifacts.manifest import hash_config
from shared.errors import InvalidField, ModelNotReady, NotFound

KIND = "candidates"


def test_what_is_published_is_loaded(store, model):
    manifest = store.publish(
        KIND,
        model,
        config={"factors": 64, "regularization": 0.1},
        data={"sequence": 7},
        lineage={"embedding": "e1"},
        labels={"protocol": "warm", "stage": "serving"},
        metrics={"ndcg@10": 0.12},
    )
    loaded = store.load(KIND)
    assert loaded.manifest == manifest
    assert store.current(KIND) == manifest.version
    assert (loaded.folder / "als" / "factors.bin").read_bytes() == (model / "als" / "factors.bin").read_bytes()
    assert sorted(manifest.files) == ["als/factors.bin", "items.json"]
    assert manifest.config_hash == hash_config({"regularization": 0.1, "factors": 64})
    assert (manifest.kind, manifest.data["sequence"], manifest.lineage["embedding"]) == (KIND, 7, "e1")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_no_manifest_can_hold_is_refused_and_nothing_written(store, model, value):
    with pytest.raises(InvalidField, match=r"metrics\['ndcg@10'\]"):
        store.publish(KIND, model, metrics={"recall": 0.5, "ndcg@10": value})
    assert (store.versions(KIND), store.current(KIND)) == ([], None)


def test_nothing_published_says_what_to_do(store):
    assert store.current(KIND) is None
    assert store.versions(KIND) == []
    assert store.find(KIND, stage="test") is None
    with pytest.raises(ModelNotReady, match="fusionrec train"):
        store.load(KIND)


def test_versions_are_newest_first_and_found_by_labels(store, model):
    fit = store.publish(KIND, model, labels={"protocol": "warm", "stage": "fit"}, make_current=False)
    test = store.publish(KIND, model, labels={"protocol": "warm", "stage": "test"}, make_current=False)
    again = store.publish(KIND, model, labels={"protocol": "warm", "stage": "fit"})
    assert store.versions(KIND) == [again.version, test.version, fit.version]
    assert store.find(KIND, protocol="warm", stage="fit") == again
    assert store.find(KIND, stage="test") == test
    assert store.find(KIND, stage="serving") is None
    assert store.current(KIND) == again.version


def test_kinds_do_not_see_each_other(store, model):
    store.publish(KIND, model)
    assert store.versions("ranker") == []
    assert store.current("ranker") is None


def test_publishing_without_making_it_current_leaves_current(store, model):
    first = store.publish(KIND, model)
    second = store.publish(KIND, model, make_current=False)
    assert store.current(KIND) == first.version
    assert store.load(KIND, second.version).manifest == second


def test_rolling_back_is_pointing_current_elsewhere(store, model):
    first = store.publish(KIND, model)
    store.publish(KIND, model)
    store.set_current(KIND, first.version)
    assert store.load(KIND).manifest == first


@pytest.mark.parametrize("version", ["20200101T000000000000-00000000", "", ".", "..", "../other/v1", "CURRENT"])
def test_a_version_that_is_not_there_is_not_found(store, model, version):
    store.publish(KIND, model)
    with pytest.raises(NotFound):
        store.set_current(KIND, version)
    with pytest.raises(NotFound):
        store.manifest(KIND, version)


def test_deleting_spares_the_current_version(store, model):
    old, new = store.publish(KIND, model), store.publish(KIND, model)
    with pytest.raises(NotFound, match="in use"):
        store.delete(KIND, new.version)
    store.delete(KIND, old.version)
    assert store.versions(KIND) == [new.version]
    with pytest.raises(NotFound):
        store.load(KIND, old.version)


def test_the_manifest_is_plain_json_for_other_tools(local, model, tmp_path):
    manifest = local.publish(KIND, model, labels={"stage": "fit"})
    written = json.loads((tmp_path / "store" / KIND / manifest.version / "manifest.json").read_text())
    assert written["format"] == 1
    assert written["labels"] == {"stage": "fit"}
    assert len(written["files"]["items.json"]) == 64
