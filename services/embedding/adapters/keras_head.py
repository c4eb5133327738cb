"""`Trainee` port on precomputed vectors: a linear map on top of the frozen encoder. A step takes milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.embedding.adapters.keras_optimizer import Stepper, assign, values
from services.embedding.encoders.artifact import Head
from services.embedding.training.losses import info_nce, relational

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from services.embedding.training.batches import Batch
    from services.embedding.training.parameters import FinetuneParameters


class HeadTrainee:
    """Trains W in v = normalise(x W), from the identity; with `keep_frozen` s in v = normalise([√s x, √(1-s) x W])."""

    def __init__(
        self,
        vectors: NDArray[np.float32],
        before: NDArray[np.float32],
        parameters: FinetuneParameters,
        publish: Callable[[Path], None],
    ) -> None:
        import keras

        self._vectors, self._before, self._parameters = vectors, before.astype(np.float16), parameters
        self._publish = publish
        dim = vectors.shape[1]
        wide = parameters.head_dim or dim
        # The identity: training starts from the frozen vectors themselves. What is longer starts from zero there.
        start = np.eye(dim, wide, dtype=np.float32)
        if wide < dim:
            random = np.random.default_rng(parameters.seed)
            start = (random.standard_normal((dim, wide)) / np.sqrt(wide)).astype(np.float32)
        self._map = keras.Variable(start, name="head")
        # No decay: the map's length does not matter, and it should stay near where it began.
        self._stepper = Stepper([self._map], weight_decay=0.0, clip_norm=parameters.clip_norm)
        self.trained_parameters = int(start.size)
        self._graph = self._make_graph()

    def step(self, batch: Batch, rate: float) -> dict[str, float]:
        """See the port."""
        self._stepper.at(rate)
        there = (batch.anchors >= 0).astype(np.float32)
        contrast, drift = self._graph(
            self._vectors[np.maximum(batch.anchors, 0)],
            there,
            self._vectors[batch.targets],
            batch.negatives,
            batch.log_q,
            self._before[batch.targets].astype(np.float32),
        )
        return {"loss/contrast": float(contrast), "loss/drift": float(drift)}

    def encode(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See the port."""
        mapped = self._vectors[rows] @ self._weight()
        return np.asarray(mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), 1e-12), np.float32)

    def refresh(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Does nothing: histories are mapped in every step."""

    def weights(self) -> dict[str, NDArray[Any]]:
        """See the port."""
        return values("weights", self._stepper.variables)

    def use(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """See the port."""
        assign("weights", self._stepper.variables, weights)

    def state(self) -> dict[str, Any]:
        """See the port."""
        return {**self.weights(), **self._stepper.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """See the port."""
        self.use(state)
        self._stepper.restore(state)

    def export(self, folder: Path) -> None:
        """See the port."""
        self._publish(folder)
        Head(self._weight()).save(folder)

    def _weight(self) -> NDArray[np.float32]:
        """Returns the one matrix that is served, float32 (dim, out)."""
        learned = np.asarray(self._map.numpy(), np.float32)
        share = self._parameters.keep_frozen
        if not share:
            return learned
        return np.hstack([np.sqrt(share) * np.eye(len(learned)), np.sqrt(1 - share) * learned]).astype(np.float32)

    def _make_graph(self) -> Any:
        import tensorflow as tf

        parameters, stepper, learned = self._parameters, self._stepper, self._map
        kept, moved = np.float32(np.sqrt(parameters.keep_frozen)), np.float32(np.sqrt(1 - parameters.keep_frozen))

        def mapped(vectors: Any) -> Any:
            made = tf.matmul(vectors, learned.value)
            if parameters.keep_frozen:
                made = tf.concat([kept * vectors, moved * made], axis=-1)
            return tf.math.l2_normalize(made, axis=-1, epsilon=1e-24)

        def step(anchors: Any, there: Any, targets: Any, negatives: Any, log_q: Any, before: Any) -> Any:
            with tf.GradientTape() as tape:
                flat = mapped(tf.reshape(anchors, (-1, anchors.shape[-1])))
                histories = tf.reshape(flat, (*there.shape, -1)) * there[:, :, None]
                histories = tf.math.l2_normalize(tf.reduce_sum(histories, axis=1), axis=-1, epsilon=1e-24)
                own = mapped(targets)
                contrast = info_nce(
                    histories, own, negatives, log_q, temperature=parameters.temperature, correction=parameters.log_q
                )
                drift = relational(own, before)
                loss = contrast + parameters.distill * drift
            stepper.apply(tape.gradient(loss, stepper.variables))
            return contrast, drift

        return tf.function(step, reduce_retracing=True)
