"""Encoder port on KerasHub and TensorFlow: any BERT-family folder in Hugging Face layout."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from services.embedding.adapters.hf_finite import check_finite
from services.embedding.adapters.hf_folder import open_folder
from services.embedding.adapters.hf_tokenizer import HfTokenizer, check_vocabulary, load_tokenizer, tokenizer_limit
from services.embedding.adapters.keras_backbone import load_backbone
from services.embedding.adapters.keras_gradients import KerasAttributor
from services.embedding.adapters.keras_start import start_tensorflow
from services.embedding.adapters.tf_fused_check import fuse
from services.embedding.encoders.artifact import Head, load_head
from services.embedding.encoders.model import POOLING, ModelFacts, ModelUnusable, version_of
from services.embedding.encoders.shapes import choose_shape
from services.embedding.ports import LoadedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.embedding.adapters.hf_folder import ModelFolder

_NORM_TOLERANCE = 1e-3


class KerasModelLoader:
    """Loads the model of the setting; see `EmbeddingSettings` for the arguments."""

    def __init__(
        self,
        model: str,
        *,
        max_tokens: int,
        shapes: Sequence[tuple[int, int]],
        threads: int,
        batch_tokens: int,
        version: str = "",
        extras: Path | None = None,
    ) -> None:
        """`version` names the model, when its files do not; `extras` is the folder that may hold a head."""
        self._version = version
        self._extras = extras
        self._model = model
        self._max_tokens = max_tokens
        self._shapes = shapes
        self._threads = threads
        self._batch_tokens = batch_tokens

    def load(self, go_on: Callable[[], None]) -> LoadedModel:
        """See the port."""
        folder = open_folder(self._model)
        check_finite(folder)
        go_on()
        tokenizer = load_tokenizer(folder.path)
        go_on()
        start_tensorflow(self._threads)
        go_on()
        backbone = load_backbone(folder)
        check_vocabulary(tokenizer, int(backbone.vocabulary_size))
        go_on()
        limits = (self._max_tokens, tokenizer_limit(tokenizer), getattr(backbone, "max_sequence_length", None))
        max_tokens = min(int(limit) for limit in limits if limit is not None)
        facts = _facts(folder, backbone, max_tokens)
        head = None if self._extras is None else load_head(self._extras, facts.dim)
        facts = replace(
            facts,
            version=self._version or facts.version,
            dim=facts.dim if head is None else head.dim,
            parameters=facts.parameters + (0 if head is None else head.parameters),
        )
        pad_id = tokenizer.pad_token_id or 0
        layered = KerasEncoder(backbone, facts, head, shapes=self._shapes, pad_id=pad_id)
        attributor = KerasAttributor(backbone, tokenizer, head=head)
        go_on()
        fused = fuse(folder, layered, head, pad_id=pad_id, batch_tokens=self._batch_tokens)
        return LoadedModel(HfTokenizer(tokenizer, max_tokens), fused or layered, attributor)


class KerasEncoder:
    """Mean over the real tokens of the last layer, mapped by the head if there is one, L2-normalised, float32.

    For the families and the folders that `FusedEncoder` does not compute, and what it is checked against. Two forms of
    the same computation: XLA for the compiled shapes, and one TensorFlow graph, traced once, for all other shapes (see
    `choose_shape`). They agree to 1e-6.
    """

    def __init__(
        self, backbone: Any, facts: ModelFacts, head: Head | None, *, shapes: Sequence[tuple[int, int]], pad_id: int
    ) -> None:
        import tensorflow as tf

        self.facts = facts
        self._pad_id = pad_id
        self._shapes = tuple(shape for shape in shapes if shape[1] <= facts.max_tokens)
        signature = [tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None), tf.int32)]
        forward = _forward(backbone, head)
        self._graph = tf.function(forward, input_signature=signature)
        self._xla = tf.function(forward, input_signature=signature, jit_compile=True)

    def encode(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """See the port."""
        longest = max(len(row) for row in rows)
        shape = choose_shape(len(rows), longest, self._shapes)
        ids, mask = self._padded(rows, shape or (len(rows), longest))
        vectors: NDArray[np.float32] = (self._xla if shape else self._graph)(ids, mask).numpy()
        return vectors[: len(rows)]

    def warm(self, go_on: Callable[[], None]) -> None:
        """See the port."""
        self._check(self.encode([[self._pad_id] * 2, [self._pad_id]]))

        def compiled(shape: tuple[int, int]) -> NDArray[np.float32]:
            go_on()
            return self._compile(shape)

        # Compilation runs outside of the interpreter's lock, on one core per shape.
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="embedding-warm") as pool:
            for vectors in pool.map(compiled, sorted(self._shapes, reverse=True)):
                self._check(vectors)

    def _compile(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        rows, tokens = shape
        return self.encode([[self._pad_id] * tokens] * rows)

    def _check(self, vectors: NDArray[np.float32]) -> None:
        lengths = np.linalg.norm(vectors, axis=1)
        # NaN fails every comparison, so this is written as "not within".
        if not bool(np.all(np.abs(lengths - 1.0) < _NORM_TOLERANCE)):
            raise ModelUnusable("the model computes no finite vectors: its weights are damaged")

    def _padded(
        self, rows: Sequence[Sequence[int]], shape: tuple[int, int]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        ids = np.full(shape, self._pad_id, np.int32)
        mask = np.zeros(shape, np.int32)
        # Rows that only fill the shape read one token: a softmax over nothing would be NaN.
        mask[:, 0] = 1
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return ids, mask


def _forward(backbone: Any, head: Head | None) -> Any:
    import keras
    import tensorflow as tf

    names = set(backbone.input)
    output = backbone.output
    # Only the last layer: the pooler on top of it is not part of the vector.
    layers = keras.Model(backbone.input, output["sequence_output"] if isinstance(output, dict) else output)

    def forward(ids: Any, mask: Any) -> Any:
        inputs = {"token_ids": ids, "padding_mask": mask}
        if "segment_ids" in names:
            inputs["segment_ids"] = tf.zeros_like(ids)
        hidden = tf.cast(layers(inputs, training=False), tf.float32)
        weights = tf.cast(mask, tf.float32)[:, :, None]
        mean = tf.reduce_sum(hidden * weights, axis=1) / tf.reduce_sum(weights, axis=1)
        if head is not None:
            mean = mean @ tf.constant(head.weight)
        if head is not None and head.bias is not None:
            mean += tf.constant(head.bias)
        return tf.math.l2_normalize(mean, axis=-1, epsilon=1e-24)

    return forward


def _facts(folder: ModelFolder, backbone: Any, max_tokens: int) -> ModelFacts:
    import tensorflow as tf

    return ModelFacts(
        version=version_of(f"{folder.fingerprint} {POOLING} {max_tokens}"),
        family=folder.family,
        dim=int(backbone.hidden_dim),
        max_tokens=max_tokens,
        parameters=int(backbone.count_params()),
        weights_sha256=folder.weights_sha256,
        engine=f"tensorflow-xla {tf.__version__}",
    )
