"""The folder of an export: reads the manifest, writes files so that a reader never sees half of one."""

from __future__ import annotations

import json
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import fsspec
from fsspec.implementations.local import LocalFileSystem
from pydantic import ValidationError

from shared.errors import CorruptData, NotFound
from shared.exports.manifest import FORMAT_VERSION, ExportManifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

MANIFEST_FILE = "_manifest.json"
EVENTS, ITEMS = "events", "items"


class OlderFormat(CorruptData):
    """The export was written by an older program: it lacks columns."""


class ExportFolder:
    """One export.

    Args:
        root: folder or fsspec URL (`s3://bucket/prefix`).

    """

    def __init__(self, root: str) -> None:
        self._fs, self._root = fsspec.url_to_fs(root)
        self._local = isinstance(self._fs, LocalFileSystem)
        self._given = root.rstrip("/")

    def manifest(self) -> ExportManifest:
        """Returns the manifest.

        Raises:
            NotFound: there is no complete export.
            CorruptData: the manifest cannot be read, or is of another format (`OlderFormat`: of an older one).

        """
        self._fs.invalidate_cache()
        try:
            content = self._fs.cat_file(self._path(MANIFEST_FILE))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound("there is no export here: run `python -m services.ingestion export` first") from error
        try:
            manifest = ExportManifest.model_validate(json.loads(content))
        except (ValidationError, ValueError) as error:
            raise CorruptData("the manifest of the export cannot be read") from error
        if manifest.format != FORMAT_VERSION:
            kind = OlderFormat if manifest.format < FORMAT_VERSION else CorruptData
            raise kind(
                f"the export has format {manifest.format}, this program reads {FORMAT_VERSION}: "
                "export again with the same version of the program"
            )
        return manifest

    def publish(self, manifest: ExportManifest) -> None:
        """Replaces the manifest in one step, then deletes the files that are no longer part of the export."""
        with self.writing(MANIFEST_FILE) as file:
            file.write(manifest.model_dump_json(indent=2).encode())
        named = {manifest.items_file, *(part.name for part in manifest.parts)}
        for folder in (EVENTS, ITEMS):
            for path in self._fs.ls(self._path(folder), detail=False) if self._fs.exists(self._path(folder)) else ():
                name = f"{folder}/{str(path).rsplit('/', 1)[-1]}"
                if name not in named and name.endswith(".parquet"):
                    self._fs.rm_file(path)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Yields a file to write; it has its name only when the block ends well."""
        target = self._path(name)
        self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        if not self._local:
            # An object appears as a whole, when it is closed; what is left of a failed one is in no manifest.
            with self._fs.open(target, "wb") as file:
                yield file
            return
        folder, own = target.rsplit("/", 1)
        temporary = f"{folder}/.{own}.{uuid.uuid4().hex[:8]}"
        try:
            with self._fs.open(temporary, "wb") as file:
                yield file
            self._fs.mv(temporary, target)
        except BaseException:
            if self._fs.exists(temporary):
                self._fs.rm_file(temporary)
            raise

    @contextmanager
    def reading(self, name: str) -> Iterator[IO[bytes]]:
        """Yields a file to read.

        Raises:
            CorruptData: the manifest names it, and it is not there.

        """
        try:
            file = self._fs.open(self._path(name), "rb")
        except FileNotFoundError as error:
            raise CorruptData(f"the export lacks {name}") from error
        with file:
            yield file

    def url(self, name: str) -> str:
        """Returns where another program finds a file: an absolute path, or the URL as it was given."""
        return f"file://{self._path(name)}" if self._local else f"{self._given}/{name}"

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"
