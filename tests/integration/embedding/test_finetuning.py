"""Fine-tuning of a tiny encoder: it learns, survives, and what it publishes is served as it was trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.embedding.adapters.base_model import BaseModel
from services.embedding.bootstrap import make_encoders
from services.embedding.encoders.artifact import HEAD_FILE, read_description
from services.embedding.training.parameters import Method, Objective
from services.embedding.training.validation import Judge

from .finetuning import PARAMETERS, Quiet, trainer, vectors


@pytest.mark.parametrize(
    ("method", "objective", "learns"),
    [
        (Method.FULL, Objective.HISTORY, 21_440),
        # Two layers, queries and values of shape (32, 4, 8): 32 · 4 · 8 + 8 · 8 numbers and 32 biases each.
        (Method.LORA, Objective.PAIRS, 4_480),
        (Method.HEAD, Objective.HISTORY, 1_024),
    ],
)
def test_what_is_trained_brings_together_what_people_like_and_is_served_as_trained(
    tmp_path, tiny_settings, corpus, method, objective, learns
):
    parameters = replace(PARAMETERS, objective=objective, keep_frozen=0.5 if method is Method.HEAD else 0.0)
    trained = trainer(tiny_settings, tmp_path, method, parameters).train(corpus, tmp_path / "made")
    assert (
        trained.lineage["base"]
        == BaseModel(tiny_settings.model, make_encoders(tiny_settings), pooling="mean", max_tokens=32).version()
    )
    assert read_description(tmp_path / "made").kind == "bert"
    assert (tmp_path / "made" / HEAD_FILE).is_file() == (method is Method.HEAD)
    assert trained.metrics["trained_parameters"] == learns
    losses = _curve(tmp_path / "curves", "loss/contrast")
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05
    served = Judge(corpus).score(vectors(tmp_path / "made", tiny_settings, list(corpus.texts)))
    assert served == pytest.approx(trained.metrics["stopping_ndcg_10"], abs=1e-6)
    assert served >= trained.metrics["stopping_ndcg_10_base"]


def test_pretraining_on_the_catalogue_learns_its_words(tmp_path, tiny_settings, corpus):
    parameters = replace(PARAMETERS, domain_epochs=6, domain_learning_rate=5e-3, epochs=0.1)
    trained = trainer(tiny_settings, tmp_path, Method.HEAD, parameters, domain=True).train(corpus, tmp_path / "made")
    losses = _curve(tmp_path / "curves", "domain/loss/masked_tokens")
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert trained.config["domain_pretrain"]
    assert np.abs(vectors(tmp_path / "made", tiny_settings) - vectors(tiny_settings.model, tiny_settings)).max() > 1e-3


def _curve(folder, name):
    import tensorflow as tf

    found = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for record in tf.compat.v1.train.summary_iterator(str(file)):
            for value in record.summary.value:
                if value.tag == name:
                    assert value.metadata.plugin_data.plugin_name in ("scalars", "")
                    found[record.step] = float(tf.make_ndarray(value.tensor))
    return [found[step] for step in sorted(found)]


@pytest.mark.parametrize("domain", [False, True])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path, tiny_settings, corpus, domain):
    parameters = replace(PARAMETERS, epochs=3, domain_epochs=2)
    method, stage = (Method.HEAD, "pretrain") if domain else (Method.LORA, "train")

    def run(name, progress):
        made = trainer(tiny_settings, tmp_path / name, method, parameters, progress, domain=domain)
        return made.train(corpus, tmp_path / name / "made")

    whole = run("whole", Quiet())
    with pytest.raises(KeyboardInterrupt):
        run("cut", Quiet(6, stage))
    rest = Quiet(stage=stage)
    resumed = run("cut", rest)
    assert rest.steps[0] == 5  # the checkpoint of step 4, not the start
    assert resumed.metrics["best_step"] == whole.metrics["best_step"]
    assert resumed.metrics["validation_ndcg_10"] == pytest.approx(whole.metrics["validation_ndcg_10"], abs=1e-6)
    one, other = (vectors(tmp_path / name / "made", tiny_settings) for name in ("whole", "cut"))
    assert np.abs(one - other).max() < 1e-5


def test_a_checkpoint_that_does_not_fit_is_started_over(tmp_path, tiny_settings, corpus):
    def run(name, head_dim):
        parameters = replace(PARAMETERS, epochs=0.5, checkpoint_steps=1, head_dim=head_dim)
        progress = Quiet()
        trainer(tiny_settings, tmp_path / name, Method.HEAD, parameters, progress).train(corpus, tmp_path / "made")
        return progress.steps[0], vectors(tmp_path / "made", tiny_settings)

    run("one", 16)
    (first, resumed), (_, fresh) = run("one", 0), run("other", 0)
    assert first == 1
    assert np.abs(resumed - fresh).max() < 1e-5


def test_a_damaged_checkpoint_is_started_over(tmp_path, tiny_settings, corpus):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "finetune.safetensors").write_bytes(b"half of it")
    progress = Quiet()
    trainer(tiny_settings, tmp_path, Method.HEAD, replace(PARAMETERS, epochs=0.5), progress).train(
        corpus, tmp_path / "made"
    )
    assert progress.steps[0] == 1
