"""Every kind of encoder behind one loader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.embedding.encoders.artifact import read_description
from services.embedding.encoders.model import ModelUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from services.embedding.encoders.artifact import EncoderDescription
    from services.embedding.ports import EncoderKind, LoadedModel


class Encoders:
    """Loads an artifact with the kind that it names."""

    def __init__(self, kinds: Mapping[str, EncoderKind]) -> None:
        self._kinds = kinds

    def load(
        self, folder: Path, version: str, go_on: Callable[[], None], description: EncoderDescription | None = None
    ) -> LoadedModel:
        """Returns the encoder in a folder, named `version`; `description` stands in where there is no encoder.json.

        Raises:
            ModelUnusable: an unknown kind, missing or damaged files, shapes that do not fit.

        """
        description = description or read_description(folder)
        kind = self._kinds.get(description.kind)
        if kind is None:
            raise ModelUnusable(f"this server has no engine for encoders of kind {description.kind!r}")
        return kind.load(folder, description, version, go_on)
