"""`Trainee` port on a whole backbone: all of its weights, or LoRA's additions to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.embedding.adapters.keras_optimizer import Stepper, assign, values
from services.embedding.training.losses import info_nce, relational
from services.embedding.training.parameters import Objective

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.embedding.adapters.keras_forward import Pooled
    from services.embedding.training.batches import Batch
    from services.embedding.training.parameters import FinetuneParameters


class KerasTrainee:
    """Trains what `pooled.layers` holds as trainable.

    Histories are averaged from remembered vectors (a memory bank, Wu et al. 2018), which a step renews for the items
    that it encodes and `refresh` for all: so a step costs one text per row, however long the histories are.
    """

    def __init__(
        self,
        pooled: Pooled,
        publish: Callable[[Path], None],
        tokens: Sequence[tuple[int, ...]],
        before: NDArray[np.float32],
        parameters: FinetuneParameters,
    ) -> None:
        self._pooled, self._publish, self._tokens, self._parameters = pooled, publish, tokens, parameters
        self._before = before.astype(np.float16)
        self._memory = self._before.copy()
        self._stepper = Stepper(
            pooled.layers.trainable_variables, weight_decay=parameters.weight_decay, clip_norm=parameters.clip_norm
        )
        self.trained_parameters = sum(int(np.prod(one.shape)) for one in self._stepper.variables)
        self._graph = self._make_graph()

    def step(self, batch: Batch, rate: float) -> dict[str, float]:
        """See the port."""
        live = self._parameters.objective is Objective.PAIRS
        rows = np.concatenate([batch.targets, batch.anchors[:, 0]]) if live else batch.targets
        ids, mask = self._pooled.padded([self._tokens[row] for row in rows.tolist()])
        anchors = np.zeros((0, self._pooled.dim), np.float32) if live else self._histories(batch.anchors)
        before = self._before[batch.targets].astype(np.float32)
        self._stepper.at(rate)
        contrast, drift, vectors = self._graph(ids, mask, anchors, batch.negatives, batch.log_q, before)
        self._memory[rows] = vectors.numpy()
        return {"loss/contrast": float(contrast), "loss/drift": float(drift)}

    def encode(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See the port."""
        return self._pooled.encode([self._tokens[row] for row in rows.tolist()])

    def refresh(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """See the port."""
        self._memory[rows] = vectors

    def weights(self) -> dict[str, NDArray[Any]]:
        """See the port."""
        return values("weights", self._stepper.variables)

    def use(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """See the port."""
        assign("weights", self._stepper.variables, weights)

    def state(self) -> dict[str, Any]:
        """See the port."""
        seeds = values("seeds", self._pooled.seeds)
        return {**self.weights(), **self._stepper.state(), **seeds, "memory": self._memory.copy()}

    def restore(self, state: dict[str, Any]) -> None:
        """See the port."""
        self.use(state)
        self._stepper.restore(state)
        assign("seeds", self._pooled.seeds, state)
        if state["memory"].shape != self._memory.shape:
            raise ValueError("the checkpoint is of another catalogue")
        self._memory = state["memory"].copy()

    def export(self, folder: Path) -> None:
        """See the port."""
        self._publish(folder)

    def _histories(self, anchors: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the normalised means of the remembered vectors, float32 (batch, dim)."""
        there = (anchors >= 0)[:, :, None]
        sums = (self._memory[np.maximum(anchors, 0)].astype(np.float32) * there).sum(axis=1)
        return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12), np.float32)

    def _make_graph(self) -> Any:
        import tensorflow as tf

        parameters, pooled, stepper = self._parameters, self._pooled, self._stepper
        size, live = parameters.batch, parameters.objective is Objective.PAIRS

        def step(ids: Any, mask: Any, anchors: Any, negatives: Any, log_q: Any, before: Any) -> Any:
            with tf.GradientTape() as tape:
                vectors = pooled(ids, mask, training=True)
                targets = vectors[:size]
                contrast = info_nce(
                    vectors[size:] if live else anchors,
                    targets,
                    negatives,
                    log_q,
                    temperature=parameters.temperature,
                    correction=parameters.log_q,
                )
                drift = relational(targets, before)
                loss = contrast + parameters.distill * drift
            stepper.apply(tape.gradient(loss, stepper.variables))
            return contrast, drift, vectors

        floats = tf.TensorSpec((None, pooled.dim), tf.float32)
        return tf.function(
            step,
            input_signature=[
                tf.TensorSpec((None, None), tf.int32),
                tf.TensorSpec((None, None), tf.int32),
                floats,
                tf.TensorSpec((size, size), tf.bool),
                tf.TensorSpec((size,), tf.float32),
                tf.TensorSpec((size, None), tf.float32),
            ],
        )
