"""Rolling back: which version is taken, and what is refused without a change."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from shared.artifacts.history import MAX_NAMES
from shared.artifacts.rollback import roll_back, spared
from shared.artifacts.rollback_command import run_rollback
from shared.artifacts.store import CurrentMoved
from shared.errors import CorruptData, InvalidField, ModelMismatch, ModelNotReady, NotFound

KIND = "ranker"


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


def test_what_was_rolled_back_from_is_not_come_back_to(store, publish):
    first, second, bad = publish(), publish(), publish()
    assert roll_back(store, KIND)[1].version == second
    fourth = publish()
    assert roll_back(store, KIND)[1].version == second
    assert roll_back(store, KIND)[1].version == first
    with pytest.raises(NotFound, match="nothing to roll back to"):
        roll_back(store, KIND)
    fifth = publish()
    for gone in (first, fourth):
        store.delete(KIND, gone)
    # The rest of what is older was rolled back from: by name alone.
    with pytest.raises(NotFound, match="nothing to roll back to"):
        roll_back(store, KIND)
    assert roll_back(store, KIND, bad)[0] == fifth


def test_what_was_gone_forward_to_again_is_what_users_had(store, publish):
    _, second, third = publish(), publish(), publish()
    roll_back(store, KIND)
    roll_back(store, KIND, third)
    publish()
    assert [roll_back(store, KIND)[1].version for _ in range(2)] == [third, second]


def test_what_users_had_is_not_what_has_the_older_name(store, publish, monkeypatch):
    class SlowClock(datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) - timedelta(hours=1)

    first, second = publish(), publish()
    monkeypatch.setattr("shared.artifacts.store.datetime", SlowClock)
    slow = publish()
    assert slow < first
    assert roll_back(store, KIND)[1].version == second


@pytest.mark.parametrize("store", ["folder"], indirect=True)
def test_a_store_without_history_goes_by_names(store, publish, tmp_path):
    first, second, _ = publish(), publish(), publish()
    (tmp_path / "store" / KIND / "HISTORY").unlink()
    assert [roll_back(store, KIND)[1].version for _ in range(2)] == [second, first]


def test_the_history_is_bounded(store, publish):
    versions = [publish() for _ in range(MAX_NAMES + 3)]
    assert store.history(KIND).trail == tuple(versions[-MAX_NAMES:])


def test_what_users_had_before_is_spared(store, publish):
    _, good, bad = publish(), publish(), publish()
    assert spared(store, KIND) == {good, bad}
    roll_back(store, KIND)
    current = publish()
    assert spared(store, KIND) == {good, current}
    store.delete(KIND, good)
    assert bad not in spared(store, KIND)


def test_what_is_published_meanwhile_stays(store, publish):
    publish()
    _, current = publish(), publish()
    meanwhile = []

    def check(_loaded):
        meanwhile.append(publish())

    before = store.history(KIND)
    with pytest.raises(CurrentMoved, match=f"instead of {current}: nothing was changed"):
        roll_back(store, KIND, check=check)
    assert store.current(KIND) == meanwhile[0]
    assert store.history(KIND).trail == (*before.trail, meanwhile[0])
    assert roll_back(store, KIND)[1].version == current


@pytest.mark.parametrize("store", ["folder"], indirect=True)
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


@pytest.mark.parametrize("store", ["folder"], indirect=True)
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
