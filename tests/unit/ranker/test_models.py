"""Model versions: what fits, what is refused, what stays in memory."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from services.ranker.__main__ import main
from services.ranker.features.registry import NAMES
from services.ranker.fusion.base import RankingInput, RankingLists
from services.ranker.fusion.linear import LinearFusion
from services.ranker.models.model import KIND, MODEL_FILE, ModelNotes, load_model, save_model
from services.ranker.models.shelf import ModelShelf, check_minimum
from services.ranker.nouns import GatePoint, ShownNote
from services.ranker.settings import RankerSettings
from services.ranker.training.job import TrainingJob
from shared.artifacts import ArtifactStore
from shared.errors import CorruptData, InvalidField, ModelMismatch, ModelNotReady, NotFound

from .samples import RULES

GATE = GatePoint("history_events", 4.0, {"cf": 0.75, "text": 0.25})
SHOWN = ShownNote(3, 4, 4, explored=True, examination=((1, 1.0), (2, 0.5), (0, 0.1)))


@pytest.fixture(scope="module")
def fitted() -> LinearFusion:
    random = np.random.default_rng(0)
    features = random.normal(size=(200, len(NAMES))).astype(np.float32)
    labels = (features[:, 0] > 0.8).astype(np.float32)
    lists = RankingLists(features, labels, np.full(10, 20), np.ones(10, dtype=np.float32))
    fusion = LinearFusion()
    fusion.fit(lists, lists, NAMES)
    return fusion


@pytest.fixture
def publish(tmp_path, table, fitted):
    store = ArtifactStore(str(tmp_path / "store"))

    def one(change=None, **labels):
        folder = tmp_path / "made"
        folder.mkdir(exist_ok=True)
        notes = ModelNotes("linear", {"linear": {"ndcg@10": 0.5}}, {"linear": [GATE]}, SHOWN)
        save_model(folder, {"linear": fitted}, notes, table)
        if change is not None:
            content = json.loads((folder / MODEL_FILE).read_text())
            change(content)
            (folder / MODEL_FILE).write_text(json.dumps(content))
        return store.publish(KIND, folder, labels=labels, lineage={"candidates": "c1"}, data={"sequence": 7})

    return store, one


def test_a_published_model_loads_with_all_that_it_needs(publish, fitted):
    store, one = publish
    manifest = one(stage="test")
    model = load_model(store.load(KIND), RULES)
    assert model.version == manifest.version
    assert model.candidates_version == "c1"
    assert model.note.data_sequence == 7
    assert model.validation["linear"]["ndcg@10"] == 0.5
    assert model.gates == {"linear": [GATE]}
    assert model.shown == SHOWN
    asked = RankingInput.plain(np.ones((3, len(NAMES)), dtype=np.float32))
    np.testing.assert_array_equal(model.fusion("").predict(asked), fitted.predict(asked))


def test_an_unknown_variant_lists_the_loaded_ones(publish):
    store, one = publish
    one()
    with pytest.raises(NotFound, match="linear"):
        load_model(store.load(KIND), RULES).fusion("quantum")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda content: content["features"].remove("als_score"), "lacks als_score"),
        (lambda content: content["features"].append("moon_phase"), "moon_phase"),
        (lambda content: content["features"].reverse(), "order"),
    ],
)
def test_another_feature_registry_is_refused_by_name(publish, change, named):
    store, one = publish
    one(change)
    with pytest.raises(ModelMismatch, match=named):
        load_model(store.load(KIND), RULES)


def test_a_file_that_makes_no_sense_is_corrupt(publish):
    store, one = publish
    one(lambda content: content.pop("features"))
    with pytest.raises(CorruptData):
        load_model(store.load(KIND), RULES)


def test_a_version_from_before_impressions_were_learned_from_has_learned_nothing_from_them(publish):
    store, one = publish
    one(lambda content: content.pop("shown"))
    assert load_model(store.load(KIND), RULES).shown == ShownNote()
    one(lambda content: content["shown"].update(examination=[["first", 1]]))
    with pytest.raises(CorruptData):
        load_model(store.load(KIND), RULES)


async def test_the_shelf_keeps_the_versions_asked_for_last(publish):
    store, one = publish
    versions = [one(turn=str(turn)).version for turn in range(4)]
    shelf = ModelShelf(store, RULES, capacity=2)
    assert await shelf.get("") is None
    shelf.use(await shelf.read(store.load(KIND, versions[3])))
    assert (await shelf.get(versions[3])) is shelf.current
    first = await shelf.get(versions[0])
    assert await shelf.get(versions[0]) is first
    await shelf.get(versions[1])
    await shelf.get(versions[2])
    assert await shelf.get(versions[0]) is not first
    with pytest.raises(NotFound):
        await shelf.get("no-such-version")
    notes = await shelf.versions()
    assert [note.version for note in notes] == versions[::-1]
    assert [note.is_current for note in notes] == [True, False, False, False]


async def test_a_corrupt_or_pruned_version_does_not_hide_the_others(publish, tmp_path, monkeypatch):
    store, one = publish
    good, corrupt, pruned = one().version, one().version, one().version
    (tmp_path / "store" / KIND / corrupt / "manifest.json").write_text("{")
    listed = store.versions(KIND)
    store.set_current(KIND, good)
    store.delete(KIND, pruned)
    monkeypatch.setattr(store, "versions", lambda _kind: listed)
    notes = await ModelShelf(store, RULES, capacity=2).versions()
    assert [note.version for note in notes] == [good]


def test_a_corrupt_version_does_not_keep_old_ones_from_being_pruned(publish, tmp_path):
    store, one = publish
    labels = {"stage": "serving"}
    versions = [one(**labels).version for _ in range(4)]
    (tmp_path / "store" / KIND / versions[1] / "manifest.json").write_text("{")
    TrainingJob(RankerSettings(keep_versions=2), None, None, None, store, None)._prune(labels)
    assert store.versions(KIND) == [versions[3], versions[2], versions[1]]


def test_what_users_had_before_is_not_pruned(publish):
    store, one = publish
    labels = {"stage": "serving"}
    oldest, good, *bad = [one(**labels).version for _ in range(5)]
    store.set_current(KIND, good)
    current = one(**labels).version
    TrainingJob(RankerSettings(keep_versions=2), None, None, None, store, None)._prune(labels)
    assert store.versions(KIND) == [current, bad[-1], good]
    assert oldest not in store.versions(KIND)


async def test_two_calls_for_a_version_load_it_once(publish):
    store, one = publish
    version = one().version
    shelf = ModelShelf(store, RULES, capacity=2)
    first, second = await asyncio.gather(shelf.get(version), shelf.get(version))
    assert first is second


async def test_minimum_versions(publish):
    store, one = publish
    old, new = one().version, one().version
    shelf = ModelShelf(store, RULES, capacity=2)
    model = await shelf.get(old)
    check_minimum(model, "")
    check_minimum(model, old)
    with pytest.raises(ModelNotReady, match=old):
        check_minimum(model, new)
    with pytest.raises(ModelNotReady, match="untrained"):
        check_minimum(None, old)
    with pytest.raises(InvalidField):
        check_minimum(model, "latest")


def test_rolling_back_to_another_feature_registry_is_refused_by_name(publish, monkeypatch, capsys):
    store, one = publish
    other, current = one(lambda content: content["features"].remove("als_score")), one()
    monkeypatch.setenv("RANKER_ARTIFACTS", store._root)
    assert main(["rollback"]) == 1
    told = f"ranker: ranker {other.version} was trained on another feature registry: it lacks als_score"
    assert capsys.readouterr().err.startswith(told)
    assert store.current(KIND) == current.version
    good = one().version
    assert main(["rollback"]) == 0
    assert capsys.readouterr().out.startswith(f"{current.version} before={good}")
