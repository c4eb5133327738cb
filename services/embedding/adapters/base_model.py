"""The model of the setting EMBEDDING_MODEL: what is served until something better was trained."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.embedding.adapters.hf_folder import DECODERS, FAMILIES, locate, open_folder, position_limit
from services.embedding.adapters.hf_tokenizer import load_tokenizer, tokenizer_limit
from services.embedding.encoders.artifact import ENCODER_FILE, POOLINGS, EncoderDescription, read_description
from services.embedding.encoders.model import VERSION_LENGTH
from shared.artifacts.manifest import hash_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.embedding.encoders.registry import Encoders
    from services.embedding.ports import LoadedModel


@dataclass(frozen=True)
class _Opened:
    """The checked folder of the setting."""

    folder: Path
    description: EncoderDescription
    version: str


class BaseModel:
    """`ModelLoader` of a folder in Hugging Face layout, an installed package with one, or an artifact's folder.

    Its version says what the vectors are made of: a hash of the files, the pooling and the limit.
    """

    def __init__(self, model: str, encoders: Encoders, *, pooling: str, max_tokens: int) -> None:
        self._model = model
        self._encoders = encoders
        self._pooling = pooling
        self._max_tokens = max_tokens
        self._opened: _Opened | None = None

    def version(self) -> str:
        """See the port."""
        return self._open().version

    def load(self, go_on: Callable[[], None]) -> LoadedModel:
        """See the port."""
        opened = self._open()
        go_on()
        return self._encoders.load(opened.folder, opened.version, go_on, opened.description)

    def _open(self) -> _Opened:
        if self._opened is None:
            folder = locate(self._model)
            is_artifact = (folder / ENCODER_FILE).is_file()
            self._opened = self._artifact(folder) if is_artifact else self._hugging_face(folder)
        return self._opened

    def _artifact(self, folder: Path) -> _Opened:
        description = read_description(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        names = "".join(f"{path.relative_to(folder).as_posix()} {hash_file(path)}\n" for path in files)
        return _Opened(folder, description, _digest(names))

    def _hugging_face(self, folder: Path) -> _Opened:
        model = open_folder(self._model, FAMILIES)
        kind = "gpt" if model.family in DECODERS else "bert"
        pooling = self._pooling if kind == "gpt" else POOLINGS[kind][0]
        limits = (self._max_tokens, tokenizer_limit(load_tokenizer(folder)), position_limit(model))
        max_tokens = min(limit for limit in limits if limit is not None)
        version = _digest(f"{model.fingerprint} {pooling} {max_tokens}")
        return _Opened(folder, EncoderDescription(kind, pooling, max_tokens), version)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:VERSION_LENGTH]
