"""The model of the setting EMBEDDING_MODEL: what is served until something better was trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.embedding.adapters.hf_folder import DECODERS, FAMILIES, locate, open_folder, position_limit, sha256_of
from services.embedding.adapters.hf_tokenizer import load_tokenizer, tokenizer_limit
from services.embedding.encoders.artifact import ENCODER_FILE, POOLINGS, EncoderDescription, read_description
from services.embedding.encoders.model import ModelUnusable, version_of

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
    fingerprint: str
    """Of the files as they were when the version was named."""
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
        model = self._encoders.load(opened.folder, opened.version, go_on, opened.description)
        go_on()
        # After the files were read: what was read is what was named.
        if self._fingerprint(opened.folder) != opened.fingerprint:
            raise ModelUnusable("the files of the model changed since the server named its version: start it again")
        return model

    def _open(self) -> _Opened:
        if self._opened is None:
            folder = locate(self._model)
            self._opened = self._artifact(folder) if _is_artifact(folder) else self._hugging_face(folder)
        return self._opened

    def _artifact(self, folder: Path) -> _Opened:
        description = read_description(folder)
        fingerprint = _all_files(folder)
        return _Opened(folder, description, fingerprint, version_of(fingerprint))

    def _hugging_face(self, folder: Path) -> _Opened:
        model = open_folder(self._model, FAMILIES)
        kind = "gpt" if model.family in DECODERS else "bert"
        pooling = self._pooling if kind == "gpt" else POOLINGS[kind][0]
        limits = (self._max_tokens, tokenizer_limit(load_tokenizer(folder)), position_limit(model))
        max_tokens = min(limit for limit in limits if limit is not None)
        version = version_of(f"{model.fingerprint} {pooling} {max_tokens}")
        return _Opened(folder, EncoderDescription(kind, pooling, max_tokens), model.fingerprint, version)

    def _fingerprint(self, folder: Path) -> str:
        return _all_files(folder) if _is_artifact(folder) else open_folder(self._model, FAMILIES).fingerprint


def _is_artifact(folder: Path) -> bool:
    return (folder / ENCODER_FILE).is_file()


def _all_files(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{path.relative_to(folder).as_posix()} {sha256_of([path])}\n" for path in files)
