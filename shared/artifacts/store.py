"""Artifacts in a folder or behind any fsspec URL.

Layout: `<root>/<kind>/<version>/{manifest.json, files…}` and `<root>/<kind>/CURRENT`, a file with the
version in use. Files are written first, the manifest last, CURRENT after that: a job killed at any point
leaves either the old state or the new one. `<root>/<kind>/HISTORY` says what was current before. It is written just
before CURRENT and read in the light of it, so that a job killed between the two does no harm; of two jobs that
publish in the same moment one may be missing in it.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import structlog
from fsspec.implementations.local import LocalFileSystem
from pydantic import ValidationError

from shared.artifacts.fetched import Fetched
from shared.artifacts.history import History
from shared.artifacts.manifest import MANIFEST_FILE, Manifest, hash_config, hash_file, verify
from shared.errors import CorruptData, FusionrecError, InvalidField, ModelNotReady, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

log = structlog.get_logger(__name__)

CURRENT_FILE = "CURRENT"
HISTORY_FILE = "HISTORY"
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class CurrentMoved(FusionrecError):
    """Another version was made current meanwhile. Jobs alone meet it: no call moves CURRENT."""


@dataclass(frozen=True)
class Loaded:
    """A verified artifact: its manifest and the local folder its files are in."""

    manifest: Manifest
    folder: Path


class ArtifactStore:
    """Publishes, finds, verifies and loads artifacts under one root.

    `root` is a folder or an fsspec URL (`s3://bucket/prefix`). Remote artifacts are fetched into
    `cache_dir` and verified there; when None, into a temporary folder that goes when the process ends. Of each kind
    the `keep_fetched` last used versions stay there.
    """

    def __init__(self, root: str, cache_dir: Path | None = None, *, keep_fetched: int = 8) -> None:
        self._fs, self._root = fsspec.url_to_fs(root)
        self._local = isinstance(self._fs, LocalFileSystem)
        self._fetched = Fetched(cache_dir, keep_fetched)

    def publish(
        self,
        kind: str,
        folder: Path,
        *,
        config: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        lineage: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        make_current: bool = True,
    ) -> Manifest:
        """Copies the files of `folder` into a new version, and points CURRENT at it unless told not to.

        Raises:
            InvalidField: a metric is not a finite number: no manifest with it could be read. Nothing is written.

        """
        _check_finite(metrics or {})
        now = datetime.now(UTC)
        version = f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        manifest = Manifest(
            kind=kind,
            version=version,
            created_at=now.isoformat(),
            config=dict(config or {}),
            config_hash=hash_config(config or {}),
            data=dict(data or {}),
            lineage=dict(lineage or {}),
            labels=dict(labels or {}),
            metrics=dict(metrics or {}),
            files={path.relative_to(folder).as_posix(): hash_file(path) for path in files},
        )
        target = self._path(kind, version)
        self._fs.makedirs(target, exist_ok=True)
        for path in files:
            destination = f"{target}/{path.relative_to(folder).as_posix()}"
            self._fs.makedirs(destination.rsplit("/", 1)[0], exist_ok=True)
            self._fs.put_file(str(path), destination)
        self._write(f"{target}/{MANIFEST_FILE}", manifest.model_dump_json(indent=2).encode())
        if make_current:
            self._point(kind, self.history(kind).forward(version))
        return manifest

    def set_current(self, kind: str, version: str, *, instead_of: str | None = None) -> None:
        """Points CURRENT at a version, an older one being a way back; `instead_of` is what must be current until then.

        Raises:
            NotFound: there is no such version.
            CurrentMoved: another one than `instead_of` is current; nothing was changed.

        """
        self.manifest(kind, version)
        history, before = self.history(kind), self.current(kind)
        if instead_of is not None and before != instead_of:
            raise CurrentMoved(
                f"{kind} {before} was made current meanwhile, instead of {instead_of}: nothing was changed; "
                "run it again"
            )
        is_back = version in history.trail or version < (before or "")
        self._point(kind, history.back(version) if is_back else history.forward(version))

    def history(self, kind: str) -> History:
        """Returns what was current before, up to what is; one that cannot be read is as good as none."""
        try:
            history = History.from_json(self._fs.cat_file(self._looked_up(kind, HISTORY_FILE)))
        except FileNotFoundError:
            history = History()
        except (ValueError, KeyError, TypeError) as error:
            log.warning("the history of what was current is begun anew", kind=kind, reason=str(error))
            history = History()
        current = self.current(kind) or ""
        return history.at(current) if _VERSION.fullmatch(current) else history

    def current(self, kind: str) -> str | None:
        """Returns the version in use; None when nothing was ever published."""
        try:
            content: bytes = self._fs.cat_file(self._looked_up(kind, CURRENT_FILE))
        except FileNotFoundError:
            return None
        return content.decode(errors="replace").strip()

    def versions(self, kind: str) -> list[str]:
        """Returns all complete versions, newest first."""
        try:
            entries = self._fs.ls(self._looked_up(kind), detail=False)
        except FileNotFoundError:
            return []
        names = sorted((str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries), reverse=True)
        return [name for name in names if self._fs.exists(self._looked_up(kind, name, MANIFEST_FILE))]

    def find(self, kind: str, **labels: str) -> Manifest | None:
        """Returns the manifest of the newest version that carries all these labels; None without one.

        A version whose manifest cannot be read is passed over: it must not hide the good ones.
        """
        for version in self.versions(kind):
            try:
                manifest = self.manifest(kind, version)
            except CorruptData as error:
                log.warning("artifact passed over", kind=kind, version=version, reason=error.message)
                continue
            if all(manifest.labels.get(name) == value for name, value in labels.items()):
                return manifest
        return None

    def manifest(self, kind: str, version: str) -> Manifest:
        """Returns a version's manifest, the files unchecked.

        Raises:
            NotFound: there is no such version.
            CorruptData: the manifest cannot be read.

        """
        if not _VERSION.fullmatch(version):
            raise NotFound(f"no {kind} version of that name")
        try:
            content = self._fs.cat_file(self._looked_up(kind, version, MANIFEST_FILE))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"no {kind} version {version}") from error
        try:
            return Manifest.model_validate(json.loads(content))
        except (ValidationError, ValueError) as error:
            raise CorruptData(f"the manifest of {kind} {version} cannot be read") from error

    def load(self, kind: str, version: str | None = None) -> Loaded:
        """Fetches and verifies a version; None means the current one.

        Raises:
            ModelNotReady: nothing was ever published.
            NotFound: there is no such version.
            CorruptData: a file is missing or its checksum differs; the message names it.

        """
        version = version or self.current(kind)
        if version is None:
            raise ModelNotReady(f"no {kind} model has been trained yet: run `fusionrec train`")
        manifest = self.manifest(kind, version)
        folder = Path(self._path(kind, version)) if self._local else self._fetch(kind, version, manifest)
        verify(manifest, folder)
        return Loaded(manifest, folder)

    def delete(self, kind: str, version: str) -> None:
        """Deletes a version that is not current.

        Raises:
            NotFound: there is no such version, or it is in use.

        """
        if version == self.current(kind):
            raise NotFound(f"{kind} {version} is in use: point CURRENT elsewhere first")
        self.manifest(kind, version)
        self._fs.rm(self._path(kind, version), recursive=True)

    def _point(self, kind: str, history: History) -> None:
        self._write(self._path(kind, HISTORY_FILE), history.to_json())
        self._write(self._path(kind, CURRENT_FILE), history.trail[-1].encode())

    def _fetch(self, kind: str, version: str, manifest: Manifest) -> Path:
        try:
            return self._fetched.folder(manifest, lambda target: self._download(kind, version, target, manifest))
        except FileNotFoundError as error:
            raise CorruptData(f"{kind} {version}: a file is missing") from error

    def _download(self, kind: str, version: str, target: Path, manifest: Manifest) -> None:
        for name in (*manifest.files, MANIFEST_FILE):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            self._fs.get_file(self._looked_up(kind, version, name), str(target / name))

    def _write(self, path: str, content: bytes) -> None:
        if not self._local:
            # Object stores replace an object atomically.
            self._fs.pipe_file(path, content)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        temporary.write_bytes(content)
        temporary.replace(target)

    def _looked_up(self, *parts: str) -> str:
        """Returns a path that is about to be read: as it is now, not as this process once listed it.

        File systems of fsspec remember listings, for the whole process and without end; other processes publish.
        """
        path: str = self._root
        self._fs.invalidate_cache(path)
        for part in "/".join(parts).split("/"):
            path = f"{path}/{part}"
            self._fs.invalidate_cache(path)
        return path

    def _path(self, *parts: str) -> str:
        return "/".join((self._root, *parts))


def _check_finite(metrics: Mapping[str, float]) -> None:
    for name, value in metrics.items():
        if not math.isfinite(value):
            hint = "leave it out, or measure it on something"
            raise InvalidField(f"metrics[{name!r}]", value, "a finite number", hint)
