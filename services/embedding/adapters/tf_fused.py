"""Encoder port on plain TensorFlow operators, for the BERT families: one graph for texts of any length.

What KerasHub's layers compute, with fewer operators: one matrix product for query, key and value, no dropout, no
pooler, and operators in the form that TensorFlow's oneDNN fuses (product, bias and GELU are one kernel). Texts are
packed side by side into rows (`encoders/packing.py`); attention stays within a text by its segment number. One core
then runs near the speed of its bare matrix products, so that streams side by side use the cores better than operators
that are split over them (docs/adr/0017-streams-and-packing.md).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from services.embedding.encoders.model import ModelUnusable
from services.embedding.encoders.packing import WIDTH, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from services.embedding.adapters.hf_weights import Affine, EncoderWeights, LayerWeights
    from services.embedding.encoders.artifact import Head
    from services.embedding.encoders.model import ModelFacts

_NORM_TOLERANCE = 1e-3
_ELSEWHERE = -1e9
"""Added to the attention's logits between positions of different texts."""


class FusedEncoder:
    """Mean over the tokens of the last layer, mapped by the head if there is one, L2-normalised, float32.

    Safe for many threads: each call of `encode` computes in the thread that calls (and one of TensorFlow's).
    """

    def __init__(
        self, weights: EncoderWeights, facts: ModelFacts, head: Head | None, *, pad_id: int, batch_tokens: int
    ) -> None:
        import tensorflow as tf

        self.facts = facts
        self._pad_id = pad_id
        self._batch_tokens = batch_tokens
        graph = _Graph(weights, head)
        table = tf.TensorSpec((None, None), tf.int32)
        self._single = tf.function(graph.single, input_signature=[table], autograph=False)
        self._packed = tf.function(
            graph.packed, input_signature=[*[table] * 3, tf.TensorSpec((), tf.int32)], autograph=False
        )

    def encode(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """See the port."""
        if len({len(row) for row in rows}) == 1:
            made = self._single(np.array(rows, np.int32))
        else:
            batch = pack(rows, self._pad_id)
            made = self._packed(batch.ids, batch.segments, batch.positions, np.int32(len(rows)))
        vectors: NDArray[np.float32] = made.numpy()
        return vectors

    def warm(self, go_on: Callable[[], None]) -> None:
        """See the port: builds the kernels of the shapes that most batches have, some milliseconds each."""

        def run(texts: list[list[int]]) -> NDArray[np.float32]:
            go_on()
            return self.encode(texts)

        limit = self.facts.max_tokens
        batches = [[[self._pad_id] * length] for length in range(1, min(limit, WIDTH) + 1)]
        part = min(limit, WIDTH // 4)
        pairs = range(1, max(self._batch_tokens // part, 2) // 2 + 1)
        batches += [[[self._pad_id] * length for length in (part, part // 2 + 1) * count] for count in pairs]
        self._check(run(batches[0]))
        self._check(run(batches[-1]))
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="embedding-warm") as pool:
            for vectors in pool.map(run, batches):
                self._check(vectors)

    def _check(self, vectors: NDArray[np.float32]) -> None:
        # NaN fails every comparison, so this is written as "not within".
        if not bool(np.all(np.abs(np.linalg.norm(vectors, axis=1) - 1.0) < _NORM_TOLERANCE)):
            raise ModelUnusable("the model computes no finite vectors: its weights are damaged")


class _Graph:
    """The operators. Hidden states are (positions of all rows, hidden): one matrix for every product."""

    def __init__(self, weights: EncoderWeights, head: Head | None) -> None:
        import tensorflow as tf

        self._tf = tf
        self._words = tf.constant(weights.words)
        self._positions = tf.constant(weights.positions)
        self._norm = _constants(weights.norm)
        self._layers = [_layer_constants(layer) for layer in weights.layers]
        self._heads = weights.heads
        self._epsilon = weights.epsilon
        self._head = head

    def single(self, ids: Any) -> Any:
        """Vectors of texts of one length, (texts, tokens): nothing is padded, nothing masked."""
        tf = self._tf
        texts, tokens = tf.unstack(tf.shape(ids))
        positions = tf.tile(tf.range(tokens)[None], [texts, 1])
        hidden = self._encode(ids, positions, None)
        return self._vector(tf.reduce_mean(tf.reshape(hidden, [texts, tokens, -1]), axis=1))

    def packed(self, ids: Any, segments: Any, positions: Any, texts: Any) -> Any:
        """Vectors of `texts` texts in packed rows; see `encoders/packing.py`."""
        tf = self._tf
        together = segments[:, None, :, None] == segments[:, None, None, :]
        hidden = self._encode(ids, positions, tf.where(together, 0.0, _ELSEWHERE))
        # A position that no text fills is in no row of this table.
        share = tf.one_hot(tf.reshape(segments, [-1]), texts, axis=0, dtype=tf.float32)
        return self._vector(share @ hidden / tf.reduce_sum(share, axis=1, keepdims=True))

    def _vector(self, mean: Any) -> Any:
        tf = self._tf
        if self._head is not None:
            mean = mean @ tf.constant(self._head.weight)
            if self._head.bias is not None:
                mean += tf.constant(self._head.bias)
        return tf.math.l2_normalize(mean, axis=-1, epsilon=1e-24)

    def _encode(self, ids: Any, positions: Any, mask: Any) -> Any:
        tf = self._tf
        words = tf.gather(self._words, tf.reshape(ids, [-1]))
        hidden = self._normed(words + tf.gather(self._positions, tf.reshape(positions, [-1])), self._norm)
        rows, width = tf.unstack(tf.shape(ids))
        for layer in self._layers:
            attended = self._attend(self._dense(hidden, layer["qkv"]), rows, width, mask)
            hidden = self._normed(hidden + self._dense(attended, layer["attention"]), layer["attention_norm"])
            # In the form that the graph optimiser knows: product, bias and exact GELU become one kernel.
            inner = self._dense(hidden, layer["inner"])
            inner = 0.5 * inner * (1.0 + tf.math.erf(inner * 0.7071067811865476))
            hidden = self._normed(hidden + self._dense(inner, layer["outer"]), layer["outer_norm"])
        return hidden

    def _attend(self, qkv: Any, rows: Any, width: Any, mask: Any) -> Any:
        tf = self._tf
        hidden = qkv.shape[-1] // 3
        split = tf.reshape(qkv, [rows, width, 3, self._heads, hidden // self._heads])
        query, key, value = tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]))
        logits = tf.matmul(query, key, transpose_b=True)
        if mask is not None:
            logits += mask
        mixed = tf.matmul(tf.nn.softmax(logits), value)
        return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [rows * width, hidden])

    def _dense(self, hidden: Any, layer: Any) -> Any:
        return self._tf.nn.bias_add(self._tf.matmul(hidden, layer[0]), layer[1])

    def _normed(self, hidden: Any, layer: Any) -> Any:
        tf = self._tf
        centred = hidden - tf.reduce_mean(hidden, axis=-1, keepdims=True)
        variance = tf.reduce_mean(centred * centred, axis=-1, keepdims=True)
        return centred * (tf.math.rsqrt(variance + self._epsilon) * layer[0]) + layer[1]


def _constants(affine: Affine) -> tuple[Any, Any]:
    import tensorflow as tf

    return tf.constant(affine[0]), tf.constant(affine[1])


def _layer_constants(layer: LayerWeights) -> dict[str, tuple[Any, Any]]:
    return {name: _constants(affine) for name, affine in vars(layer).items()}
