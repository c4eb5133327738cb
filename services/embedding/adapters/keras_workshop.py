"""A base encoder opened for training: its tokens, its backbone, and what can be trained of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from services.embedding.adapters.hf_export import export_folder
from services.embedding.adapters.hf_folder import open_folder
from services.embedding.adapters.hf_tokenizer import HfTokenizer, load_tokenizer, tokenizer_limit
from services.embedding.adapters.keras_backbone import load_backbone
from services.embedding.adapters.keras_finetune import KerasTrainee
from services.embedding.adapters.keras_forward import Pooled
from services.embedding.adapters.keras_head import HeadTrainee
from services.embedding.adapters.keras_mlm import KerasLanguageTrainee
from services.embedding.adapters.keras_start import start_tensorflow
from services.embedding.encoders.artifact import MODEL_FOLDER, EncoderDescription, write_description
from services.embedding.training.parameters import Method

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from services.embedding.training.parameters import FinetuneParameters
    from services.embedding.training.ports import LanguageTrainee, Trainee


class KerasWorkshop:
    """`Workshop` port on KerasHub and TensorFlow, for BERT-family folders."""

    kind = "bert"

    def __init__(
        self, model: str, version: str, parameters: FinetuneParameters, *, max_tokens: int, threads: int
    ) -> None:
        """`version` is the model's name, `max_tokens` what is read of a text when it is served."""
        # Without it the sums of a step depend on how threads happen to meet.
        os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
        start_tensorflow(threads)
        self._folder = open_folder(model)
        self.version = version
        self._description = EncoderDescription(self.kind, max_tokens=max_tokens)
        tokenizer = load_tokenizer(self._folder.path)
        self.special = tuple(tokenizer.all_special_ids)
        self.mask_id = tokenizer.mask_token_id
        limits = (parameters.max_tokens, max_tokens, tokenizer_limit(tokenizer))
        self._tokenizer = HfTokenizer(tokenizer, min(limit for limit in limits if limit is not None))
        self._parameters = parameters
        import keras

        # Dropout's seeds are drawn when the layers are made.
        keras.utils.set_random_seed(parameters.seed)
        self._backbone = load_backbone(self._folder)
        self.vocabulary = int(self._backbone.vocabulary_size)
        self._pooled = Pooled(self._backbone, pad_id=tokenizer.pad_token_id or 0)

    def tokenize(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """See the port."""
        return [text.ids for text in self._tokenizer.tokenize(texts)]

    def vectors(self, tokens: Sequence[tuple[int, ...]]) -> NDArray[np.float32]:
        """See the port."""
        return self._pooled.encode(tokens)

    def language_trainee(self) -> LanguageTrainee:
        """See the port."""
        return KerasLanguageTrainee(self._pooled, self._parameters)

    def trainee(self, method: Method, tokens: Sequence[tuple[int, ...]], before: NDArray[np.float32]) -> Trainee:
        """See the port."""
        if method is Method.HEAD:
            return HeadTrainee(self.vectors(tokens), before, self._parameters, self._publish)
        if method is Method.LORA:
            self._backbone.enable_lora(self._parameters.rank)
        return KerasTrainee(self._pooled, self._publish, tokens, before, self._parameters)

    def _publish(self, folder: Path) -> None:
        """Writes the encoder as it is now."""
        write_description(folder, self._description)
        export_folder(self._backbone, self._folder, folder / MODEL_FOLDER)
