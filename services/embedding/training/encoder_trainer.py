"""`Trainer` of a pretrained encoder: its domain's words first, when asked for, then what people liked together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import structlog

from services.embedding.encoders.model import ModelUnusable
from services.embedding.training.batches import BatchSampler
from services.embedding.training.loop import Loop, Plan, restored
from services.embedding.training.masking import MaskSampler
from services.embedding.training.ports import Trained
from services.embedding.training.schedule import rate_at
from services.embedding.training.validation import Judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from services.embedding.training.corpus import Corpus
    from services.embedding.training.parameters import FinetuneParameters, Method
    from services.embedding.training.ports import Board, Checkpoints, Workshop
    from shared.telemetry.progress import JobProgress

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class EncoderTrainer:
    """Trains what `open_workshop` returns. Of its two checkpoints one is the pretraining's, one the fine-tuning's."""

    kind: str
    tuning: Method
    parameters: FinetuneParameters
    domain_pretrain: bool
    open_workshop: Callable[[], Workshop]
    domain_checkpoints: Checkpoints
    checkpoints: Checkpoints
    board: Board
    progress: JobProgress

    @property
    def method(self) -> str:
        """See the port."""
        return self.tuning.value

    def train(self, corpus: Corpus, folder: Path) -> Trained:
        """See the port."""
        self.progress.update("load", 0, 1)
        workshop = self.open_workshop()
        tokens = workshop.tokenize(corpus.texts)
        self.progress.update("load", 1, 1)
        before = workshop.vectors(tokens)
        if self.domain_pretrain:
            self._pretrain(workshop, tokens)
        trainee = workshop.trainee(self.tuning, tokens, before)
        judge = Judge(corpus)
        loop = Loop(
            trainee,
            BatchSampler(corpus.train, len(corpus.items), self.parameters),
            judge,
            Plan.make(self.tuning, corpus, self.parameters),
            self.parameters,
            self.checkpoints,
            self.board,
            self.progress,
        )
        outcome = loop.run(len(corpus.items))
        trainee.export(folder)
        made = trainee.encode(judge.needed)
        vectors = np.zeros((len(corpus.items), made.shape[1]), np.float32)
        vectors[judge.needed] = made
        verdict = judge.verdict(vectors, before, self.parameters.seed)
        metrics = {
            **verdict.metrics,
            "stopping_ndcg_10_base": outcome.before,
            "stopping_ndcg_10": outcome.best,
            "best_step": float(outcome.best_step),
            "steps": float(outcome.steps),
            "minutes": outcome.seconds / 60,
            "trained_parameters": float(trainee.trained_parameters),
        }
        config = {**asdict(self.parameters), "domain_pretrain": self.domain_pretrain}
        return Trained(verdict.better, metrics, config, {"base": workshop.version})

    def _pretrain(self, workshop: Workshop, tokens: Sequence[tuple[int, ...]]) -> None:
        parameters = self.parameters
        if workshop.mask_id is None:
            raise ModelUnusable("the tokenizer of the model has no mask token: it cannot be pretrained on masked texts")
        sampler = MaskSampler(
            tokens,
            mask_id=workshop.mask_id,
            special=workshop.special,
            vocabulary=workshop.vocabulary,
            share=parameters.mask_share,
            batch=parameters.batch,
            seed=parameters.seed,
        )
        trainee = workshop.language_trainee()
        steps = max(1, round(parameters.domain_epochs * sampler.steps_per_epoch))
        start = 0
        found = self.domain_checkpoints.load()
        if found is not None and restored(trainee, found[1]):
            start = int(found[0]["step"])
            log.info("pretraining resumed", step=start, of=steps)
        for step in range(start, steps):
            rate = rate_at(step, steps, parameters.domain_learning_rate, parameters.warm_up)
            self.board.write(step + 1, {f"domain/{n}": v for n, v in trainee.step(sampler.batch(step), rate).items()})
            self.progress.update("pretrain", step + 1, steps)
            if (step + 1) % parameters.checkpoint_steps == 0 or step + 1 == steps:
                self.domain_checkpoints.save({"step": step + 1}, trainee.state())
