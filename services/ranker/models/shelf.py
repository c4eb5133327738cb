"""The versions in memory: the current one, and a few pinned ones."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

import structlog

from services.ranker.models.model import KIND, RankerModel, load_model, note_of, readable_manifests
from shared.errors import CorruptData, InvalidField, ModelNotReady

if TYPE_CHECKING:
    from services.ranker.nouns import VersionNote
    from shared.artifacts import ArtifactStore, Loaded
    from shared.data.preferences import PreferenceRules

log = structlog.get_logger(__name__)

UNTRAINED = "untrained"


class ModelShelf:
    """Keeps the current model and the last `capacity` pinned ones; loads in a thread."""

    def __init__(
        self, store: ArtifactStore, preferences: PreferenceRules, *, capacity: int, default_variant: str = ""
    ) -> None:
        self._store = store
        self._preferences = preferences
        self._capacity = capacity
        self._default_variant = default_variant
        self._pinned: OrderedDict[str, RankerModel] = OrderedDict()
        self._loading = asyncio.Lock()
        self.current: RankerModel | None = None
        self.status_reason = "starting"

    async def read(self, loaded: Loaded) -> RankerModel:
        """Returns the model of a verified artifact.

        Raises:
            CorruptData, ModelMismatch, NotFound: it cannot be used.

        """
        return await asyncio.to_thread(load_model, loaded, self._preferences, self._default_variant)

    def use(self, model: RankerModel) -> None:
        """Makes a model the current one; calls that run keep the one they began with."""
        self.current = model
        self.status_reason = ""

    async def get(self, version: str) -> RankerModel | None:
        """Returns a pinned version; for an empty name the current one, None before the first training.

        Raises:
            NotFound: there is no such version.
            CorruptData, ModelMismatch: it cannot be used.

        """
        current = self.current
        if not version:
            return current
        if current is not None and current.version == version:
            return current
        async with self._loading:
            model = self._pinned.get(version)
            if model is None:
                loaded = await asyncio.to_thread(self._store.load, KIND, version)
                model = await self.read(loaded)
                self._pinned[version] = model
            self._pinned.move_to_end(version)
            while len(self._pinned) > self._capacity:
                self._pinned.popitem(last=False)
        return model

    async def versions(self) -> list[VersionNote]:
        """Returns all published versions, newest first."""
        return await asyncio.to_thread(self._read_versions)

    def _read_versions(self) -> list[VersionNote]:
        current = self._store.current(KIND)
        notes = []
        for manifest in readable_manifests(self._store):
            try:
                notes.append(note_of(manifest, is_current=manifest.version == current))
            except CorruptData as error:
                log.warning("a version was passed over", version=manifest.version, reason=error.message)
        return notes


def check_minimum(model: RankerModel | None, minimum: str) -> None:
    """Refuses a model that is older than `minimum`: version names begin with their time, so they sort by it.

    Raises:
        InvalidField: not a version's name.
        ModelNotReady: the model is older, or there is none.

    """
    if not minimum:
        return
    if not minimum[:8].isdigit():
        hint = "use a version as GetModelInfo lists it"
        raise InvalidField("context.min_model_version", minimum, "a version's name", hint)
    have = UNTRAINED if model is None else model.version
    if model is None or have < minimum:
        raise ModelNotReady(f"the model is {have}, older than the asked {minimum[:64]}; retry when it has been swapped")
