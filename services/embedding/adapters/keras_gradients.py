"""Attributor port: integrated gradients through a KerasHub backbone, from its token embeddings on.

The presence a_t of a token, 0 to 1, stands for two things: how far its embedding has come from that of the padding
token, and how much its last hidden state counts in the pooled vector:

    x_t(a) = pad_t + a_t (e_t - pad_t)
    S(a) = (Σ_t π_t a_t h_t(x(a)))·d / |Σ_t π_t h_t(e)|        π: the pooling, 1/n for the mean

so that S(0) = 0 and S(1) is the cosine: along the straight path from 0 to 1 the integrals of ∂S/∂a_t sum to the
similarity, and no part of it belongs to a baseline. Special tokens are always there; in the pool they are as present
as the text's own tokens are on average, which shares their part out among these. After Sundararajan, Taly & Yan
(2017), Axiomatic Attribution for Deep Networks; as the rows of the token pairs' matrix of Moeller, Nikolaev & Padó
(2023), An Attribution Method for Siamese Encoders, with a reference whose vector is zero. See docs/adr/0015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.embedding.attribution.model import ReadText, TokenShares
from services.embedding.attribution.path import Evaluated, integrate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from services.embedding.encoders.artifact import Head

TOLERANCE = 0.01
"""Error of the sum that is accepted, as a share of the similarity; half of what the contract promises."""
LEAST_TOLERANCE = 1e-4
"""The same, absolute: below a similarity of 0.01 a share of it would ask for more than float32 can give."""
MAX_POINTS = 400
STEP_TOKENS = 1_024
"""Tokens of one step at most: it holds the hidden states of all layers for the way back."""

_EMBEDDINGS = ("token_embedding", "embeddings", "token_and_position_embedding")
"""What the layer that reads the token ids is called, by family."""


class KerasAttributor:
    """Words' parts for one loaded backbone. Nothing is traced before the first call."""

    method = "integrated gradients"

    def __init__(
        self,
        backbone: Any,
        tokenizer: Any,
        *,
        pooling: str = "mean",
        head: Head | None = None,
    ) -> None:
        """Takes the parts of a loaded model.

        Args:
            backbone: a KerasHub backbone.
            tokenizer: the fast `transformers` tokenizer that belongs to it, set to cut as `HfTokenizer` sets it.
            pooling: "mean" or "last".
            head: applied to the pooled vector.

        """
        self._backbone = backbone
        self._core = tokenizer.backend_tokenizer
        self._padding = int(tokenizer.pad_token_id or 0)
        self._last = pooling == "last"
        self._head = head
        self._embeddings = next(layer for layer in backbone.layers if layer.name in _EMBEDDINGS)
        self._blocks = _attending(backbone)
        self.layers = len(self._blocks)
        self.heads = int(getattr(backbone, "num_heads", 0)) if self._blocks else 0
        self._made: tuple[Any, Any] | None = None

    def read(self, text: str) -> ReadText:
        """See the port."""
        encoding = self._core.encode(text)
        spans = tuple(
            None if special else (int(start), int(end))
            for (start, end), special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        )
        return ReadText(tuple(encoding.ids), tuple(encoding.tokens), spans, truncated=bool(encoding.overflowing))

    def vector(self, text: ReadText) -> NDArray[np.float32]:
        """See the port."""
        whole = self._whole(text)
        return np.asarray(whole / np.linalg.norm(whole), np.float32)

    def shares(self, text: ReadText, direction: NDArray[np.float32], go_on: Callable[[], None]) -> TokenShares:
        """See the port."""
        whole = self._whole(text)
        length = float(np.linalg.norm(whole))
        embedded, absent = self._embedded(text.ids), self._embedded([self._padding] * len(text.ids))
        content = _content(text)
        steps = max(STEP_TOKENS // len(text.ids), 1)

        def evaluate(points: NDArray[np.float64]) -> Evaluated:
            values, gradients = [], []
            for start in range(0, len(points), steps):
                go_on()
                part = points[start : start + steps].astype(np.float32)
                value, gradient = self._functions()[0](embedded, absent, content, part, direction)
                values.append(value.numpy())
                gradients.append(gradient.numpy())
            scale = np.float64(length)
            return Evaluated(np.concatenate(values) / scale, np.concatenate(gradients) / scale)

        tolerance = max(TOLERANCE * abs(float(whole @ direction)) / length, LEAST_TOLERANCE)
        integral = integrate(evaluate, tolerance, MAX_POINTS)
        return TokenShares(integral.parts, integral.points)

    def attention(self, text: ReadText) -> NDArray[np.float32]:
        """See the port."""
        import tensorflow as tf

        ids = tf.constant([text.ids], tf.int32)
        mask = tf.ones_like(ids)
        inputs = {"token_ids": ids, "padding_mask": mask, "segment_ids": tf.zeros_like(ids)}
        below = _before(self._backbone, self._blocks[0])
        hidden = below({name: inputs[name] for name in self._backbone.input})
        maps = []
        for block in self._blocks:
            hidden, weights = block(hidden, padding_mask=mask, return_attention_scores=True, training=False)
            maps.append(weights[0].numpy())
        return np.stack(maps).astype(np.float32)

    def _whole(self, text: ReadText) -> NDArray[np.float64]:
        """Returns the vector before it is brought to length 1."""
        vector = self._functions()[1](self._embedded(text.ids))
        return np.asarray(vector.numpy(), np.float64)

    def _embedded(self, ids: Any) -> Any:
        return self._embeddings(np.asarray([ids], np.int32))[0]

    def _functions(self) -> tuple[Any, Any]:
        if self._made is None:
            self._made = _traced(self._backbone, self._embeddings, last=self._last, head=self._head)
        return self._made


def _content(text: ReadText) -> NDArray[np.float32]:
    return np.array([span is not None for span in text.spans], np.float32)


def _attending(backbone: Any) -> list[Any]:
    """Returns the layers that can say what they attend to, in order; none for families that cannot."""
    blocks: list[Any] = []
    for one in getattr(backbone, "transformer_layers", ()):
        # ALBERT has groups of layers, each run several times.
        group = one if isinstance(one, list) else [one]
        repeats = backbone.num_layers // backbone.num_groups if isinstance(one, list) else 1
        blocks.extend(group * repeats)
    able = all("return_attention_scores" in block.call.__code__.co_varnames for block in blocks)
    return blocks if able else []


def _before(backbone: Any, block: Any) -> Any:
    """Returns the part of the backbone below its first attending layer."""
    import keras

    return keras.Model(backbone.input, block.input[0] if isinstance(block.input, list | tuple) else block.input)


def _traced(backbone: Any, embeddings: Any, *, last: bool, head: Head | None) -> tuple[Any, Any]:
    """Returns two graphs: value and gradient at points of the path, and the vector of the whole text."""
    import keras
    import tensorflow as tf

    output = backbone.output
    others = [name for name in backbone.input if name != "token_ids"]
    inputs = [embeddings.output, *(backbone.input[name] for name in others)]
    upper = keras.Model(inputs, output["sequence_output"] if isinstance(output, dict) else output)

    def pooled(embedded: Any, presence: Any, average: Any) -> Any:
        mask = tf.ones(tf.shape(embedded)[:2], tf.int32)
        given = [mask if name == "padding_mask" else tf.zeros_like(mask) for name in others]
        hidden = tf.cast(upper([embedded, *given], training=False), tf.float32)
        mean = tf.reduce_mean(hidden * presence[:, :, None], axis=1)
        vector = hidden[:, -1] * average[:, None] if last else mean
        if head is not None:
            vector = vector @ tf.constant(head.weight)
        if head is not None and head.bias is not None:
            vector += average[:, None] * tf.constant(head.bias)
        return vector

    matrix, row = tf.TensorSpec((None, embeddings.output.shape[-1]), tf.float32), tf.TensorSpec((None,), tf.float32)

    @tf.function(input_signature=[matrix, matrix, row, row, row])  # type: ignore[untyped-decorator]
    def along(embedded: Any, absent: Any, content: Any, points: Any, direction: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            present = points[:, None] * tf.ones_like(content)[None]
            tape.watch(present)
            average = tf.reduce_sum(present * content, axis=1) / tf.reduce_sum(content)
            counted = present * content + average[:, None] * (1.0 - content)
            moved = present * content + (1.0 - content)
            path = absent + moved[:, :, None] * (embedded - absent)
            value = tf.linalg.matvec(pooled(path, counted, average), direction)
        return value, tape.gradient(value, present)

    @tf.function(input_signature=[matrix])  # type: ignore[untyped-decorator]
    def whole(embedded: Any) -> Any:
        ones = tf.ones((1, tf.shape(embedded)[0]))
        return pooled(embedded[None], ones, tf.ones((1,)))[0]

    return along, whole
