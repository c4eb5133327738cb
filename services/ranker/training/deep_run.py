"""Runs the epochs of the deep fusion: stops early, keeps a checkpoint after each, writes what TensorBoard shows."""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import tensorflow as tf

from services.ranker.training.deep_fit import DeepTrainer
from services.ranker.training.metrics import ndcg

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from services.ranker.fusion.base import FitContext, RankingLists
    from services.ranker.fusion.deep import DeepParameters
    from services.ranker.fusion.deep_network import DeepNetwork
    from services.ranker.items.arrays import F32

log = structlog.get_logger(__name__)

MAX_CHECKPOINTS = 8
"""Checkpoints in the folder besides that of the training that runs; the oldest are dropped."""


@dataclass
class Best:
    """The best epoch so far, counted from 1, its NDCG@10 on validation lists, and its weights."""

    epoch: int
    ndcg: float
    weights: Mapping[str, F32]


@dataclass(frozen=True)
class DeepRun:
    """One phase of a training: "fit", "refit" or "update"."""

    parameters: DeepParameters
    context: FitContext
    phase: str

    def learn(
        self,
        network: DeepNetwork,
        lists: RankingLists,
        base: F32,
        epochs: int,
        held: tuple[RankingLists, F32] | None = None,
    ) -> tuple[DeepNetwork, int]:
        """Returns the network with learned weights, and after how many epochs they were reached.

        Args:
            network: what to begin with.
            lists: what to learn from.
            base: scores that the network adds to, float32 (rows,).
            epochs: epochs at most.
            held: lists that decide when to stop, with their base scores; None: all epochs are run.

        """
        trainer = DeepTrainer(network, lists, base, self.parameters, self.context)
        path = self._checkpoint(network, lists)
        start = Best(0, -1.0 if held is None else _measured(network, *held), network.weights)
        best = self._restored(trainer, path, start)
        with self._board() as board:
            while trainer.epoch < epochs and trainer.epoch - best.epoch < self._patience(held, epochs):
                self.context.progress.update(f"deep {self.phase}", trainer.epoch, epochs)
                losses = trainer.run_epoch()
                now = replace(network, weights=trainer.weights())
                value = float(trainer.epoch) if held is None else _measured(now, *held)
                if value > best.ndcg:
                    best = Best(trainer.epoch, value, now.weights)
                _show(board, trainer.epoch, {**losses, **({} if held is None else {"ndcg@10": value})})
                if path is not None:
                    kept = {f"best_{name}": array for name, array in best.weights.items()}
                    trainer.save(path, {"best": np.array([best.epoch, best.ndcg]), **kept})
        self.context.progress.update(f"deep {self.phase}", epochs, epochs)
        if path is not None:
            path.unlink(missing_ok=True)
        return replace(network, weights=best.weights), best.epoch

    def _patience(self, held: tuple[RankingLists, F32] | None, epochs: int) -> int:
        return epochs + 1 if held is None else self.parameters.patience

    def _checkpoint(self, network: DeepNetwork, lists: RankingLists) -> Path | None:
        """Returns where the checkpoint of this very training is: of other lists or beginnings it is another file."""
        if self.context.folder is None:
            return None
        key = zlib.crc32(repr(self.parameters).encode())
        for array in (lists.features, lists.labels, lists.weights, *network.weights.values()):
            key = zlib.crc32(array.tobytes(), key)
        self.context.folder.mkdir(parents=True, exist_ok=True)
        # Those of trainings that were never run again.
        for old in sorted(self.context.folder.glob("deep-*.npz"), key=_written)[:-MAX_CHECKPOINTS]:
            old.unlink(missing_ok=True)
        return self.context.folder / f"deep-{self.phase}-{key:08x}.npz"

    def _restored(self, trainer: DeepTrainer, path: Path | None, start: Best) -> Best:
        if path is None or not path.exists():
            return start
        try:
            with np.load(path) as stored:
                state = {name: stored[name] for name in stored.files}
            best = Best(
                int(state["best"][0]), float(state["best"][1]), {name: state[f"best_{name}"] for name in start.weights}
            )
            trainer.restore(state)
        except (OSError, ValueError, KeyError) as error:
            log.warning("the checkpoint cannot be read; training begins anew", reason=type(error).__name__)
            return start
        log.info("training goes on from a checkpoint", phase=self.phase, epoch=trainer.epoch)
        return best

    @contextlib.contextmanager
    def _board(self) -> Iterator[Any]:
        if self.context.tensorboard is None:
            yield None
            return
        board = tf.summary.create_file_writer(str(self.context.tensorboard / self.phase))
        try:
            yield board
        finally:
            board.close()


def _written(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _show(board: Any, epoch: int, values: Mapping[str, float]) -> None:
    if board is None:
        return
    # What `tf.summary.scalar` writes; that function needs the package tensorboard, which only reading needs.
    scalar = tf.compat.v1.SummaryMetadata(data_class="DATA_CLASS_SCALAR")
    scalar.plugin_data.plugin_name = "scalars"
    with board.as_default():
        for name, value in values.items():
            tf.summary.write(name, np.float32(value), step=epoch, metadata=scalar)


def _measured(network: DeepNetwork, lists: RankingLists, base: F32) -> float:
    """Returns the mean NDCG@10 over the lists."""
    found = []
    for start, size, inputs in zip(lists.starts, lists.sizes, lists.inputs(), strict=True):
        rows = slice(int(start), int(start + size))
        found.append(ndcg(base[rows] + network.predict(inputs), lists.labels[rows]))
    return float(np.mean(found)) if found else 0.0
