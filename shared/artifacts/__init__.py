"""Versioned artifacts: what a training job publishes and a server swaps to."""

from shared.artifacts.manifest import Manifest
from shared.artifacts.store import ArtifactStore, Loaded
from shared.artifacts.watcher import ArtifactWatcher

__all__ = ["ArtifactStore", "ArtifactWatcher", "Loaded", "Manifest"]
