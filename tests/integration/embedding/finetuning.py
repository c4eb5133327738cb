"""A tiny encoder to fine-tune, and who trains it."""

from __future__ import annotations

import importlib.util

from services.embedding.adapters.base_model import BaseModel
from services.embedding.bootstrap import make_encoders
from services.embedding.bootstrap_training import encoder_trainer
from services.embedding.settings import EmbeddingSettings
from services.embedding.training.corpus import make_corpus
from services.embedding.training.parameters import FinetuneParameters, Method
from shared.data.preferences import PreferenceRules
from shared.data.splits import Protocol, Stage
from shared.testing.processes import ROOT

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


def tiny_settings(model):
    return EmbeddingSettings(model=str(model), xla_shapes=(), max_tokens=32)


def tastes():
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
