"""The training loop: steps, judgements, checkpoints, and when to stop. It knows nothing of TensorFlow."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from services.embedding.training.parameters import EPOCHS, RATES
from services.embedding.training.schedule import rate_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from services.embedding.training.batches import BatchSampler
    from services.embedding.training.corpus import Corpus
    from services.embedding.training.parameters import FinetuneParameters, Method
    from services.embedding.training.ports import Board, Checkpoints, LanguageTrainee, State, Trainee
    from services.embedding.training.validation import Judge
    from shared.telemetry.progress import JobProgress

log = structlog.get_logger(__name__)

BEST = "best."
"""Prefix of the best weights in a checkpoint."""
STATE = "state."
"""Prefix of the trainee's state in a checkpoint."""
STARTS_OVER = "the checkpoint does not fit: the training starts over"


@dataclass(frozen=True)
class Plan:
    """How long a training is."""

    steps: int
    """At most."""
    evaluate_every: int
    """Steps between two judgements."""
    rate: float
    """Largest learning rate."""

    @classmethod
    def make(cls, method: Method, corpus: Corpus, parameters: FinetuneParameters) -> Plan:
        """Returns the plan: an epoch draws as many items as are liked in the training."""
        liked = int(np.count_nonzero(corpus.train.per_item(len(corpus.items))))
        epoch = max(1, -(-liked // parameters.batch))
        return cls(
            steps=max(1, round((parameters.epochs or EPOCHS[method]) * epoch)),
            evaluate_every=max(1, round(parameters.evaluate_epochs * epoch)),
            rate=parameters.learning_rate or RATES[method],
        )


@dataclass(frozen=True)
class Outcome:
    """What came of a training; the trainee has its best weights."""

    before: float
    """NDCG@10 of the base's vectors among the validation fold's items."""
    best: float
    """That of the best judgement."""
    best_step: int
    """The step after which it was made; 0: the base was never beaten."""
    steps: int
    """Steps that were taken."""
    seconds: float
    """Of all runs together."""


def restored(trainee: Trainee | LanguageTrainee, state: State) -> bool:
    """Goes on from a checkpoint; returns False, the trainee as it was, when it is of another model or catalogue."""
    fresh = trainee.state()
    try:
        trainee.restore(state)
    except (ValueError, KeyError) as error:
        log.warning(STARTS_OVER, reason=str(error))
        trainee.restore(fresh)
        return False
    return True


@dataclass
class _Progress:
    """Where a training is; what of it is a number is in the checkpoint as it is."""

    step: int = 0
    before: float = -1.0
    best: float = -1.0
    best_step: int = 0
    stale: int = 0
    seconds: float = 0.0
    done: bool = False


class Loop:
    """Trains a trainee; every argument but the trainee is what the name says."""

    def __init__(
        self,
        trainee: Trainee,
        sampler: BatchSampler,
        judge: Judge,
        plan: Plan,
        parameters: FinetuneParameters,
        checkpoints: Checkpoints,
        board: Board,
        progress: JobProgress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trainee, self._sampler, self._judge, self._plan = trainee, sampler, judge, plan
        self._parameters, self._checkpoints, self._board, self._progress = parameters, checkpoints, board, progress
        self._clock = clock
        self._at = _Progress()
        self._best: dict[str, NDArray[Any]] = {}
        self._losses: list[Mapping[str, float]] = []

    def run(self, items: int) -> Outcome:
        """Trains on a corpus of so many items, from the last checkpoint when there is one; returns what came of it."""
        started, before = self._clock(), 0.0
        if not self._resume():
            self._evaluate(items)
        before = self._at.seconds
        while not self._at.done and self._at.step < self._plan.steps:
            self._step()
            if self._at.step % self._plan.evaluate_every == 0 or self._at.step == self._plan.steps:
                self._evaluate(items)
            self._at.seconds = before + self._clock() - started
            self._end_in_time(items)
            if self._at.step % self._parameters.checkpoint_steps == 0 or self._at.done:
                self._save()
        self._trainee.use(self._best)
        at = self._at
        return Outcome(at.before, at.best, at.best_step, at.step, at.seconds)

    def _step(self) -> None:
        at, plan = self._at, self._plan
        rate = rate_at(at.step, plan.steps, plan.rate, self._parameters.warm_up)
        self._losses.append(self._trainee.step(self._sampler.batch(at.step), rate))
        at.step += 1
        self._board.write(at.step, {**self._losses[-1], "learning_rate": rate})
        self._progress.update("train", at.step, plan.steps)

    def _evaluate(self, items: int) -> None:
        at, rows = self._at, self._judge.needed
        made = self._trainee.encode(rows)
        vectors = np.zeros((items, made.shape[1]), np.float32)
        vectors[rows] = made
        self._trainee.refresh(rows, made)
        score = self._judge.score(vectors)
        self._board.write(at.step, {"validation/ndcg@10": score})
        losses = {
            name: round(float(np.mean([one[name] for one in self._losses])), 4) for name in (self._losses or [{}])[-1]
        }
        self._losses = []
        log.info("judged", step=at.step, ndcg_10=round(score, 4), best=round(max(at.best, score), 4), **losses)
        if at.step == 0:
            at.before = score
        if score > at.best:
            at.best, at.best_step, at.stale = score, at.step, 0
            self._best = self._trainee.weights()
            return
        at.stale += 1
        at.done = at.stale >= self._parameters.patience

    def _end_in_time(self, items: int) -> None:
        limit = self._parameters.max_minutes
        if limit is None or self._at.done or self._at.seconds < 60 * limit:
            return
        log.info("the time is over", minutes=limit, step=self._at.step)
        if self._losses:
            self._evaluate(items)
        self._at.done = True

    def _save(self) -> None:
        arrays = {STATE + name: value for name, value in self._trainee.state().items()}
        arrays |= {BEST + name: value for name, value in self._best.items()}
        self._checkpoints.save({"finetune": vars(self._at).copy()}, arrays)

    def _resume(self) -> bool:
        found = self._checkpoints.load()
        if found is None or "finetune" not in found[0]:
            return False
        numbers, arrays = found
        try:
            at = _Progress(**numbers["finetune"])
            best = {n.removeprefix(BEST): v for n, v in arrays.items() if n.startswith(BEST)}
        except TypeError as error:
            log.warning(STARTS_OVER, reason=str(error))
            return False
        if not restored(self._trainee, {n.removeprefix(STATE): v for n, v in arrays.items() if n.startswith(STATE)}):
            return False
        self._at, self._best = at, best
        log.info("resumed", step=self._at.step, of=self._plan.steps, best=round(self._at.best, 4))
        return True
