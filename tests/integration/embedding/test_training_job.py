"""The training job: what it publishes, what it does not, what it deletes, and what the command says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.embedding.bootstrap_training import fit_trainer
from services.embedding.training.job import NotBetter, TrainingJob
from services.embedding.training.parameters import Method
from services.embedding.training.runs import Run
from shared.artifacts import ArtifactStore
from shared.data.preferences import PreferenceRules
from shared.data.splits import Protocol, Stage

from .finetuning import PARAMETERS, Quiet, samples, trainer, vectors


def blind(texts):
    """Returns vectors that say nothing."""
    return np.ones((len(texts), 2), np.float32)


def _job(tmp_path, parameters=PARAMETERS, **options):
    store = ArtifactStore(str(tmp_path / "artifacts"))
    run = Run(tmp_path / "runs", {"any": "thing"})
    return TrainingJob(
        store, PreferenceRules(), parameters, run, progress=Quiet(), **{"keep_versions": 2, "keep_days": 0.0, **options}
    ), store


def test_the_job_publishes_with_lineage_and_prunes(tmp_path, tiny_settings):
    parameters = replace(PARAMETERS, epochs=0.1)
    job, store = _job(tmp_path, parameters, always=True)
    made = [
        job.run(
            samples.two_tastes(),
            trainer(tiny_settings, tmp_path, Method.HEAD, parameters),
            Protocol.WARM,
            Stage.SERVING,
        )
        for _ in range(3)
    ]
    assert store.versions("embedding") == [made[2].version, made[1].version]
    assert store.current("embedding") == made[2].version
    assert made[2].labels == {"encoder": "bert", "method": "head", "protocol": "warm", "stage": "serving"}
    assert made[2].lineage["base"]
    assert made[2].data["sequence"] == samples.two_tastes().sequence
    assert made[2].config["temperature"] == parameters.temperature
    assert not (tmp_path / "runs" / job.run_of.name).exists()
    test = job.run(
        samples.two_tastes(), trainer(tiny_settings, tmp_path, Method.HEAD, parameters), Protocol.NEW_ITEMS, Stage.TEST
    )
    assert store.current("embedding") == made[2].version != test.version


def test_what_users_had_before_is_not_pruned(tmp_path):
    job, store = _job(tmp_path)
    folder = tmp_path / "made"
    folder.mkdir()
    labels = {"protocol": "warm", "stage": "serving"}
    _, good, *bad = [store.publish("embedding", folder, labels=labels).version for _ in range(5)]
    store.set_current("embedding", good)
    current = store.publish("embedding", folder, labels=labels).version
    job._prune(labels)
    assert store.versions("embedding") == [current, bad[-1], good]


def test_what_is_no_better_than_its_base_is_not_published(tmp_path, tiny_settings):
    # A rate this small moves nothing.
    parameters = replace(PARAMETERS, epochs=0.1, learning_rate=1e-12)
    job, store = _job(tmp_path, parameters)
    with pytest.raises(NotBetter, match="not better than its base"):
        job.run(
            samples.two_tastes(),
            trainer(tiny_settings, tmp_path, Method.HEAD, parameters),
            Protocol.WARM,
            Stage.SERVING,
        )
    assert store.versions("embedding") == []


@pytest.mark.parametrize(("kind", "sessions"), [("bow", False), ("tfidf", False), ("word2vec", True)])
def test_fitted_kinds_are_published_by_the_same_job(tmp_path, tiny_settings, kind, sessions):
    job, store = _job(tmp_path, always=True)
    trained_by = fit_trainer(kind, 7, Quiet(), sessions=sessions, base=blind)
    manifest = job.run(samples.two_tastes(), trained_by, Protocol.WARM, Stage.SERVING)
    assert manifest.labels["encoder"] == kind
    assert manifest.labels["method"] == ("sessions" if sessions else "fit")
    assert manifest.metrics["validation_ndcg_10"] > 0.2
    loaded = store.load("embedding")
    made = vectors(loaded.folder, tiny_settings)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)


def test_versions_that_others_may_have_pinned_are_kept_for_days(tmp_path):
    job, store = _job(tmp_path, keep_days=30.0, keep_versions=1, always=True)
    for _ in range(2):
        job.run(samples.two_tastes(), fit_trainer("bow", 7, Quiet()), Protocol.WARM, Stage.SERVING)
    assert len(store.versions("embedding")) == 2


def test_a_fitted_kind_has_to_beat_the_base(tmp_path):
    def knowing(texts):
        """Vectors that say the taste and nothing else."""
        return np.array([[1.0, 0.0] if "space" in text else [0.0, 1.0] for text in texts], np.float32)

    job, store = _job(tmp_path)
    with pytest.raises(NotBetter, match="not better than its base"):
        job.run(samples.two_tastes(), fit_trainer("bow", 7, Quiet(), base=knowing), Protocol.WARM, Stage.SERVING)
    with pytest.raises(NotBetter, match="not compared"):
        job.run(samples.two_tastes(), fit_trainer("bow", 7, Quiet()), Protocol.WARM, Stage.SERVING)
    assert store.versions("embedding") == []
    made = job.run(samples.two_tastes(), fit_trainer("bow", 7, Quiet(), base=blind), Protocol.WARM, Stage.SERVING)
    assert made.metrics["validation_gain_lower"] > 0


def test_the_command_says_in_one_sentence_what_is_missing(tmp_path, capsys, monkeypatch):
    from services.embedding.__main__ import main

    monkeypatch.delenv("EMBEDDING_ARTIFACTS", raising=False)
    assert main(["train", "--method", "head"]) == 2
    assert "EMBEDDING_ARTIFACTS is empty" in capsys.readouterr().err
    monkeypatch.setenv("EMBEDDING_ARTIFACTS", str(tmp_path))
    assert main(["train", "--protocol", "new-items", "--stage", "serving"]) == 2
    assert "has no stage serving" in capsys.readouterr().err
    assert main(["train", "--temperature", "-1"]) == 2
    assert "--temperature = -1.0" in capsys.readouterr().err
