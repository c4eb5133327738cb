"""`EncoderKind` of the BERT families."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.embedding.adapters.keras_bert import KerasModelLoader
from services.embedding.encoders.artifact import MAX_TOKENS_LIMIT, model_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from services.embedding.encoders.artifact import EncoderDescription
    from services.embedding.ports import LoadedModel


class BertKind:
    """Loads with `KerasModelLoader`; see `EmbeddingSettings` for the arguments."""

    def __init__(self, *, shapes: Sequence[tuple[int, int]], threads: int, batch_tokens: int) -> None:
        self._shapes = shapes
        self._batch_tokens = batch_tokens
        self._threads = threads

    def load(
        self, folder: Path, description: EncoderDescription, version: str, go_on: Callable[[], None]
    ) -> LoadedModel:
        """See the port."""
        loader = KerasModelLoader(
            str(model_folder(folder)),
            max_tokens=description.max_tokens or MAX_TOKENS_LIMIT,
            shapes=self._shapes,
            threads=self._threads,
            batch_tokens=self._batch_tokens,
            version=version,
            extras=folder,
        )
        return loader.load(go_on)
