"""Decoder models on KerasHub and TensorFlow, as encoders: any served family in Hugging Face layout.

A decoder reads a text from left to right. Its vector is the mean of the last layer over the text's tokens, or the
last token's, the only one that has read the whole text.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from safetensors import safe_open

from services.embedding.adapters.hf_finite import check_finite
from services.embedding.adapters.hf_folder import DECODERS, open_folder, position_limit
from services.embedding.adapters.hf_tokenizer import HfTokenizer, check_vocabulary, load_tokenizer, tokenizer_limit
from services.embedding.adapters.keras_gradients import KerasAttributor
from services.embedding.adapters.keras_start import start_tensorflow
from services.embedding.encoders.artifact import MAX_TOKENS_LIMIT, load_head, model_folder
from services.embedding.encoders.model import ModelFacts, ModelUnusable
from services.embedding.encoders.shapes import choose_shape
from services.embedding.ports import LoadedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.embedding.adapters.hf_folder import ModelFolder
    from services.embedding.encoders.artifact import EncoderDescription, Head

log = structlog.get_logger(__name__)

KIND = "gpt"
_NORM_TOLERANCE = 1e-3
_NOT_READ = ("lm_head.weight", "score.weight", ".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq")
"""Ends of the names of tensors that take no part in the last layer's vectors."""


class GptKind:
    """`EncoderKind` of the decoder families; see `EmbeddingSettings` for the arguments."""

    def __init__(self, *, shapes: Sequence[tuple[int, int]], threads: int) -> None:
        self._shapes = shapes
        self._threads = threads

    def load(
        self, folder: Path, description: EncoderDescription, version: str, go_on: Callable[[], None]
    ) -> LoadedModel:
        """See the port."""
        model = open_folder(str(model_folder(folder)), DECODERS)
        check_finite(model)
        go_on()
        tokenizer = load_tokenizer(model.path)
        go_on()
        start_tensorflow(self._threads)
        go_on()
        backbone = _load_backbone(model)
        check_vocabulary(tokenizer, int(backbone.vocabulary_size))
        go_on()
        limits = (description.max_tokens or MAX_TOKENS_LIMIT, tokenizer_limit(tokenizer), position_limit(model))
        max_tokens = min(limit for limit in limits if limit is not None)
        head = load_head(folder, int(backbone.hidden_dim))
        facts = _facts(model, backbone, head, description.pooling, max_tokens, version)
        pad_id = tokenizer.pad_token_id or 0
        encoder = GptEncoder(backbone, facts, head, shapes=self._shapes, pad_id=pad_id)
        attributor = KerasAttributor(backbone, tokenizer, pooling=description.pooling, head=head)
        return LoadedModel(HfTokenizer(tokenizer, max_tokens), encoder, attributor)


class GptEncoder:
    """Mean or last token of the last layer, mapped by the head if there is one, L2-normalised, float32."""

    def __init__(
        self, backbone: Any, facts: ModelFacts, head: Head | None, *, shapes: Sequence[tuple[int, int]], pad_id: int
    ) -> None:
        import tensorflow as tf

        self.facts = facts
        self._pad_id = pad_id
        self._shapes = tuple(shape for shape in shapes if shape[1] <= facts.max_tokens)
        signature = [tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None), tf.int32)]
        forward = _forward(backbone, facts.pooling, head)
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
            return self.encode([[self._pad_id] * shape[1]] * shape[0])

        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="embedding-warm") as pool:
            for vectors in pool.map(compiled, sorted(self._shapes, reverse=True)):
                self._check(vectors)

    def _check(self, vectors: NDArray[np.float32]) -> None:
        # NaN fails every comparison, so this is written as "not within".
        if not bool(np.all(np.abs(np.linalg.norm(vectors, axis=1) - 1.0) < _NORM_TOLERANCE)):
            raise ModelUnusable("the model computes no finite vectors: its weights are damaged")

    def _padded(
        self, rows: Sequence[Sequence[int]], shape: tuple[int, int]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        # Padding stands on the right: no real token reads it, and positions count from the text's first token.
        ids = np.full(shape, self._pad_id, np.int32)
        mask = np.zeros(shape, np.int32)
        mask[:, 0] = 1
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return ids, mask


def _load_backbone(model: ModelFolder) -> Any:
    import keras_hub

    try:
        backbone = keras_hub.models.Backbone.from_preset(str(model.path))
    except Exception as error:
        # Missing tensors, wrong shapes, unknown options: the library raises many kinds. All mean the same here.
        log.exception("KerasHub cannot load the model")
        raise ModelUnusable("the weights do not fit the configuration of the model") from error
    _check_all_read(model, backbone)
    return backbone


def _check_all_read(model: ModelFolder, backbone: Any) -> None:
    """Checks that no tensor was passed over: a variant of the family that KerasHub does not know."""
    total = 0
    for file in model.weight_files:
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (a handle, not a mapping)
                if not name.endswith(_NOT_READ):
                    total += math.prod(tensors.get_slice(name).get_shape())
    # Families that do not share the table of the words with the output keep it in the backbone.
    output = int(model.config["vocab_size"]) * int(backbone.hidden_dim)
    read = _parameters(backbone)
    if read not in {total, total + output}:
        raise ModelUnusable(
            f"the weights hold {total} numbers, the engine's {model.family} reads {read}: "
            "a variant of the family that is not served"
        )


def _parameters(backbone: Any) -> int:
    # Not those that are computed, such as frequencies.
    return sum(math.prod(variable.shape) for variable in backbone.trainable_variables)


def _forward(backbone: Any, pooling: str, head: Head | None) -> Any:
    import tensorflow as tf

    weight = None if head is None else tf.constant(head.weight)
    bias = None if head is None or head.bias is None else tf.constant(head.bias)

    def forward(ids: Any, mask: Any) -> Any:
        hidden = tf.cast(backbone({"token_ids": ids, "padding_mask": mask}, training=False), tf.float32)
        if pooling == "last":
            last = tf.reduce_sum(mask, axis=1) - 1
            pooled = tf.gather(hidden, last, axis=1, batch_dims=1)
        else:
            weights = tf.cast(mask, tf.float32)[:, :, None]
            pooled = tf.reduce_sum(hidden * weights, axis=1) / tf.reduce_sum(weights, axis=1)
        if weight is not None:
            pooled = pooled @ weight
        if bias is not None:
            pooled += bias
        return tf.math.l2_normalize(pooled, axis=-1, epsilon=1e-24)

    return forward


def _facts(
    model: ModelFolder, backbone: Any, head: Head | None, pooling: str, max_tokens: int, version: str
) -> ModelFacts:
    import tensorflow as tf

    return ModelFacts(
        version=version,
        kind=KIND,
        family=model.family,
        dim=int(backbone.hidden_dim) if head is None else head.dim,
        max_tokens=max_tokens,
        parameters=_parameters(backbone) + (0 if head is None else head.parameters),
        weights_sha256=model.weights_sha256,
        engine=f"tensorflow-xla {tf.__version__}",
        pooling=pooling,
    )
