"""Where versions come from: the artifacts, and the model of the settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from services.embedding.encoders.artifact import ARTIFACT_KIND
from services.embedding.encoders.model import ModelUnusable
from shared.errors import CorruptData, NotFound, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.embedding.encoders.registry import Encoders
    from services.embedding.ports import LoadedModel, ModelLoader
    from shared.artifacts import ArtifactStore, Loaded

log = structlog.get_logger(__name__)

BASE_LABELS = {"origin": "base"}


@dataclass(frozen=True, slots=True)
class VersionNote:
    """A version that can be asked for by name."""

    version: str
    created_at: datetime | None
    """When it was published; None for the base."""
    labels: Mapping[str, str]
    lineage: Mapping[str, str]
    data_sequence: int
    """The last record of the log that it was trained on; 0 for the base."""
    is_current: bool


class VersionSource:
    """Loads versions by name. Everything here blocks; `store` is None where nothing is trained."""

    def __init__(self, store: ArtifactStore | None, base: ModelLoader, encoders: Encoders) -> None:
        self._store = store
        self._base = base
        self._encoders = encoders
        self._notes: dict[str, VersionNote] = {}

    def has_current(self) -> bool:
        """Returns whether an artifact is to be served instead of the base.

        Raises:
            OSError: the store does not answer.

        """
        return self._store is not None and self._store.current(ARTIFACT_KIND) is not None

    def base_version(self) -> str:
        """Returns the version of the model of the settings.

        Raises:
            ModelUnusable: it cannot be read.

        """
        return self._base.version()

    def check_known(self, version: str) -> None:
        """Checks that there is such a version; its files are not looked at.

        Raises:
            NotFound: there is none.
            CorruptData: its manifest cannot be read.

        """
        if version == self._base_version():
            return
        if self._store is None:
            raise NotFound(f"no embedding version {shown(version)}: this server serves {self._base_version()} alone")
        try:
            self._store.manifest(ARTIFACT_KIND, version)
        except NotFound as error:
            raise _unknown(version) from error

    def load(self, version: str, go_on: Callable[[], None]) -> LoadedModel:
        """Returns a version.

        Raises:
            NotFound: there is no such version.
            CorruptData: its files are damaged, or it is of a kind that is not served.

        """
        if version == self._base_version():
            try:
                return self._base.load(go_on)
            except ModelUnusable as unusable:
                raise _unusable(version, unusable) from unusable
        if self._store is None:
            raise _unknown(version)
        try:
            loaded = self._store.load(ARTIFACT_KIND, version)
        except NotFound as error:
            raise _unknown(version) from error
        return self.read(loaded, go_on)

    def read(self, loaded: Loaded, go_on: Callable[[], None]) -> LoadedModel:
        """Returns the model of a verified artifact.

        Raises:
            CorruptData: it cannot be served; the message says why.

        """
        version = loaded.manifest.version
        try:
            return self._encoders.load(loaded.folder, version, go_on)
        except ModelUnusable as unusable:
            raise _unusable(version, unusable) from unusable

    def known(self, current: str) -> list[VersionNote]:
        """Returns the versions that can be asked for, newest first, the base last; `current` is the one in use."""
        notes = [] if self._store is None else self._published(self._store)
        base = self._base_version()
        if base:
            notes.append(VersionNote(base, None, BASE_LABELS, {}, 0, False))
        return [
            VersionNote(one.version, one.created_at, one.labels, one.lineage, one.data_sequence, one.version == current)
            for one in notes
        ]

    def _published(self, store: ArtifactStore) -> list[VersionNote]:
        # Read once: calls on other threads put another one in its place.
        before = self._notes
        notes: dict[str, VersionNote] = {}
        for name in store.versions(ARTIFACT_KIND):
            if name in before:
                notes[name] = before[name]
            else:
                try:
                    manifest = store.manifest(ARTIFACT_KIND, name)
                    at = datetime.fromisoformat(manifest.created_at)
                    sequence = int(manifest.data.get("sequence", 0))
                except (NotFound, CorruptData, ValueError, TypeError) as error:
                    log.warning("a version was passed over", version=name, reason=repr(error))
                    continue
                notes[name] = VersionNote(name, at, manifest.labels, manifest.lineage, sequence, False)
        self._notes = notes
        return list(notes.values())

    def _base_version(self) -> str:
        try:
            return self._base.version()
        except ModelUnusable:
            return ""


def _unknown(version: str) -> NotFound:
    return NotFound(f"no embedding version {shown(version)}: GetModelInfo lists those there are")


def _unusable(version: str, why: ModelUnusable) -> CorruptData:
    return CorruptData(f"embedding {version} cannot be used: {why}")
