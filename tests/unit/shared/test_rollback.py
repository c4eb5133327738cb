"""Rolling back: which version is taken, and what is refused without a change."""

from __future__ import annotations

import pytest

from shared.artifacts import ArtifactStore
from shared.artifacts.rollback import roll_back
from shared.artifacts.rollback_command import run_rollback
from shared.errors import CorruptData, InvalidField, ModelMismatch, ModelNotReady, NotFound

KIND = "ranker"


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "store"))


@pytest.fixture
def publish(store, tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "weights").write_text("1")

    def one(stage="serving", **options):
        labels = {"protocol": "warm", "stage": stage}
        return store.publish(KIND, folder, labels=labels, make_current=stage == "serving", **options).version

    return one


def test_the_version_before_is_the_newest_older_one_that_users_got(store, publish):
    publish()
    second, _, third = publish(), publish("test"), publish()
    before, now = roll_back(store, KIND)
    assert (before, now.version, store.current(KIND)) == (third, second, second)


def test_again_and_again_it_goes_further_back_until_there_is_nothing(store, publish):
    versions = [publish() for _ in range(3)]
    assert [roll_back(store, KIND)[1].version for _ in range(2)] == versions[1::-1]
    with pytest.raises(NotFound, match=f"nothing to roll back to: ranker {versions[0]} is current"):
        roll_back(store, KIND)
    assert store.current(KIND) == versions[0]


def test_a_named_version_also_leads_forward(store, publish):
    first, second, third = publish(), publish(), publish()
    assert roll_back(store, KIND, first)[1].version == first
    assert roll_back(store, KIND, third)[0] == first
    assert store.current(KIND) == third != second


def test_what_cannot_be_used_changes_nothing(store, publish, tmp_path):
    first, measured, current = publish(), publish("test"), publish()
    with pytest.raises(NotFound, match=f"no ranker version none; there are {current}, {first}"):
        roll_back(store, KIND, "none")
    with pytest.raises(NotFound):
        roll_back(store, KIND, "../../etc")
    with pytest.raises(InvalidField, match="it is in use"):
        roll_back(store, KIND, current)
    with pytest.raises(InvalidField, match="trained for measuring"):
        roll_back(store, KIND, measured)

    def refuse(_loaded):
        raise ModelMismatch("trained on another feature registry")

    with pytest.raises(ModelMismatch):
        roll_back(store, KIND, check=refuse)
    (tmp_path / "store" / KIND / first / "weights").write_text("2")
    with pytest.raises(CorruptData, match="weights"):
        roll_back(store, KIND)
    assert store.current(KIND) == current


def test_a_version_whose_manifest_cannot_be_read_is_passed_over(store, publish, tmp_path):
    first, second, _ = publish(), publish(), publish()
    (tmp_path / "store" / KIND / second / "manifest.json").write_text("{")
    assert roll_back(store, KIND)[1].version == first


def test_a_store_without_versions_has_nothing_to_roll_back(store):
    with pytest.raises(ModelNotReady, match="nothing to roll back"):
        roll_back(store, KIND)


def test_the_command_says_what_was_done_or_why_not(store, publish, capsys):
    first, second = publish(lineage={"candidates": "c1"}), publish()
    assert run_rollback("ranker", lambda: roll_back(store, KIND)) == 0
    assert capsys.readouterr().out == f"{first} before={second} protocol=warm stage=serving candidates=c1\n"
    assert run_rollback("ranker", lambda: roll_back(store, KIND)) == 1
    assert capsys.readouterr().err.startswith("ranker: nothing to roll back to")
