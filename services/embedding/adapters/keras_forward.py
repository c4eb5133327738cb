"""The forward pass of a backbone in training: token ids in, pooled unit vectors out; with dropout when it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ENCODE_BATCH = 128
"""Texts of one computed batch without gradients."""


class Pooled:
    """Mean over the real tokens of a backbone's last layer, L2-normalised: what `KerasEncoder` serves."""

    def __init__(self, backbone: Any, *, pad_id: int) -> None:
        import keras
        import tensorflow as tf

        self.backbone = backbone
        self._pad_id = pad_id
        self._inputs = set(backbone.input)
        output = backbone.output
        # Only the last layer: the pooler on top of it is not part of the vector, and is not trained.
        last = output["sequence_output"] if isinstance(output, dict) else output
        self.layers = keras.Model(backbone.input, last)
        self.dim = int(backbone.hidden_dim)
        signature = [tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None), tf.int32)]
        self._signature = signature
        self._graph: Any = None

    def tokens(self, ids: Any, mask: Any, *, training: bool) -> Any:
        """Returns the last layer, (texts, tokens, dim)."""
        import tensorflow as tf

        inputs = {"token_ids": ids, "padding_mask": mask}
        if "segment_ids" in self._inputs:
            inputs["segment_ids"] = tf.zeros_like(ids)
        return self.layers(inputs, training=training)

    def __call__(self, ids: Any, mask: Any, *, training: bool) -> Any:
        """Returns unit vectors, (texts, dim)."""
        import tensorflow as tf

        weights = tf.cast(mask, tf.float32)[:, :, None]
        mean = tf.reduce_sum(self.tokens(ids, mask, training=training) * weights, 1) / tf.reduce_sum(weights, 1)
        return tf.math.l2_normalize(mean, axis=-1, epsilon=1e-24)

    def padded(self, rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Returns ids and mask, int32 (rows, longest)."""
        longest = max(len(row) for row in rows)
        ids = np.full((len(rows), longest), self._pad_id, np.int32)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        return ids, mask

    def encode(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Returns unit vectors without dropout, float32 (rows, dim)."""
        import tensorflow as tf

        if self._graph is None:
            self._graph = tf.function(lambda i, m: self(i, m, training=False), input_signature=self._signature)
        vectors = np.empty((len(rows), self.dim), np.float32)
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        for start in range(0, len(order), ENCODE_BATCH):
            chosen = order[start : start + ENCODE_BATCH]
            ids, mask = self.padded([rows[place] for place in chosen])
            vectors[chosen] = self._graph(ids, mask).numpy()
        return vectors

    @property
    def seeds(self) -> list[Any]:
        """The states of what draws the dropout, in a fixed order."""
        return [one for one in self.layers.variables if "seed_generator" in one.path]
