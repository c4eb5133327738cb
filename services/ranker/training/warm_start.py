"""What an incremental update goes on from: the fusions of a published version, and the users with events since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.ranker.models.model import KIND, load_model, readable_manifests
from shared.data.splits import Protocol, Stage
from shared.errors import ModelNotReady

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.ranker.fusion.base import FusionFunction
    from shared.artifacts import ArtifactStore, Manifest
    from shared.data.log import LogSnapshot
    from shared.data.preferences import PreferenceRules


@dataclass(frozen=True)
class Beginning:
    """A published version, and whose lists have changed since it was trained."""

    store: ArtifactStore
    version: str
    users: frozenset[str]
    preferences: PreferenceRules

    @staticmethod
    def newest(store: ArtifactStore, protocol: Protocol) -> Manifest:
        """Returns the version to go on from: for warm the current one, else the newest of the protocol.

        Raises:
            ModelNotReady: there is none.

        """
        current = store.current(KIND)
        stage = Stage.SERVING if protocol is Protocol.WARM else Stage.TEST
        for manifest in readable_manifests(store):
            if protocol is Protocol.WARM and current is not None:
                if manifest.version == current:
                    return manifest
            elif manifest.labels == {"protocol": protocol.value, "stage": stage.value}:
                return manifest
        raise ModelNotReady(
            f"there is no ranker of protocol {protocol.value} to go on from: train without --warm-start"
        )

    @classmethod
    def of(
        cls,
        store: ArtifactStore,
        manifest: Manifest,
        before: LogSnapshot,
        now: LogSnapshot,
        preferences: PreferenceRules,
    ) -> Beginning:
        """Returns the beginning that `manifest` is; `before` is the log as it was trained on, `now` as it is.

        Raises:
            ModelNotReady: nobody has done anything since.

        """
        known = {event.event_id for event in before.events}
        fresh = (event for event in now.events if event.event_id not in known and preferences.counts(event))
        users = frozenset(event.user_id for event in fresh)
        if not users:
            raise ModelNotReady(
                f"candidates has seen no events since ranker {manifest.version} was trained: train candidates first"
            )
        return cls(store, manifest.version, users, preferences)

    def load(self) -> Mapping[str, FusionFunction]:
        """Returns the version's fusions, each time anew.

        Raises:
            CorruptData, ModelMismatch, NotFound: they cannot be used.

        """
        return load_model(self.store.load(KIND, self.version), self.preferences).fusions
