"""`LanguageTrainee` port: a backbone goes on guessing hidden tokens, now of the catalogue's texts.

Its guess is made with the token embeddings themselves (tied weights, Press and Wolf 2017), after a linear map that
starts as the identity and a bias that starts at zero: encoders are published without the head that they
were pretrained with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.embedding.adapters.keras_optimizer import Stepper, assign, values
from services.embedding.training.losses import masked_tokens

if TYPE_CHECKING:
    from services.embedding.adapters.keras_forward import Pooled
    from services.embedding.training.masking import MaskedBatch
    from services.embedding.training.parameters import FinetuneParameters


class KerasLanguageTrainee:
    """Trains all weights of `pooled.layers`, and a head of its own that is thrown away afterwards."""

    def __init__(self, pooled: Pooled, parameters: FinetuneParameters) -> None:
        import keras

        self._pooled = pooled
        self._table = pooled.backbone.get_layer("token_embedding")
        self._map = keras.Variable(np.eye(pooled.dim, dtype=np.float32), name="kernel")
        self._bias = keras.Variable(np.zeros(int(pooled.backbone.vocabulary_size), np.float32), name="bias")
        self._stepper = Stepper(
            [*pooled.layers.trainable_variables, self._map, self._bias],
            weight_decay=parameters.weight_decay,
            clip_norm=parameters.clip_norm,
        )
        self._graph = self._make_graph()

    def step(self, batch: MaskedBatch, rate: float) -> dict[str, float]:
        """See the port."""
        ids, mask = self._pooled.padded(batch.rows)
        self._stepper.at(rate)
        loss = self._graph(ids, mask, batch.places.astype(np.int32), batch.labels.astype(np.int32))
        return {"loss/masked_tokens": float(loss)}

    def state(self) -> dict[str, Any]:
        """See the port."""
        seeds = values("seeds", self._pooled.seeds)
        return {**values("weights", self._stepper.variables), **self._stepper.state(), **seeds}

    def restore(self, state: dict[str, Any]) -> None:
        """See the port."""
        assign("weights", self._stepper.variables, state)
        self._stepper.restore(state)
        assign("seeds", self._pooled.seeds, state)

    def _make_graph(self) -> Any:
        import tensorflow as tf

        pooled, stepper, table = self._pooled, self._stepper, self._table

        def step(ids: Any, mask: Any, places: Any, labels: Any) -> Any:
            with tf.GradientTape() as tape:
                hidden = tf.gather_nd(pooled.tokens(ids, mask, training=True), places)
                guessed = tf.matmul(hidden, self._map.value)
                logits = tf.matmul(guessed, table.embeddings, transpose_b=True) + self._bias.value
                loss = masked_tokens(logits, labels, tf.ones(tf.shape(labels), tf.float32))
            stepper.apply(tape.gradient(loss, stepper.variables))
            return loss

        matrix, vector = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32)
        return tf.function(step, input_signature=[matrix, matrix, tf.TensorSpec((None, 2), tf.int32), vector])
