"""The training command on the log of the running world, with future labels planted into what the models may see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.ranker.__main__ import main
from services.ranker.training import job
from shared.artifacts import ArtifactStore
from shared.data.folds import training_folds

KIND = "ranker"


def planted(fold):
    """Returns the fold with the labels of its first list among the events that its models train on."""
    one = fold.lists[0]
    future = [event for event in one.later if event.item_id in one.relevant]
    assert future
    return replace(fold, training=(*fold.training, *future))


@pytest.mark.parametrize("fold", ["warm-0", "warm-3", "cold"])
def test_a_training_that_could_see_its_labels_fails_and_publishes_nothing(trained, monkeypatch, capsys, fold):
    for name, value in trained.environment.items():
        monkeypatch.setenv(name, value)

    def leaking(*arguments):
        return [planted(one) if one.name == fold else one for one in training_folds(*arguments)]

    monkeypatch.setattr(job, "training_folds", leaking)
    store = ArtifactStore(trained.environment["RANKER_ARTIFACTS"])
    before = store.versions(KIND), store.current(KIND)
    assert main(["train", "--protocol", "warm", "--progress", "json"]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"ranker: leak in fold {fold}: ")
    assert told.endswith("; nothing was published")
    assert (store.versions(KIND), store.current(KIND)) == before
