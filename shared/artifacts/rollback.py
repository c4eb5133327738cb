"""Rolling back: CURRENT is pointed at an older version, which running servers swap to as to a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.data.splits import Stage
from shared.errors import CorruptData, InvalidField, ModelNotReady, NotFound, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.artifacts.manifest import Manifest
    from shared.artifacts.store import ArtifactStore, Loaded

MAX_LISTED = 8
"""Versions that a refusal names."""


def roll_back(
    store: ArtifactStore, kind: str, version: str = "", *, check: Callable[[Loaded], object] = lambda _loaded: None
) -> tuple[str, Manifest]:
    """Points CURRENT at `version`, or at the newest one older than it when that is empty.

    Only what users may get is taken: a version that was trained for measuring has not seen everything. Its checksums
    are verified and `check` is asked before CURRENT moves, so that what a server would refuse changes nothing.

    Args:
        store: the artifacts.
        kind: of artifact.
        version: a version of the store, also a newer one than the current (the way forward again).
        check: raises what speaks against using a version.

    Returns:
        The version that was current, and the manifest of the one that is now.

    Raises:
        ModelNotReady: nothing is current: nothing was ever published.
        NotFound: there is no such version, or none that is older.
        InvalidField: the version is current already, or is for measuring.
        CorruptData: its files are damaged.
        FusionrecError: what `check` raises.

    """
    before = store.current(kind)
    if before is None:
        raise ModelNotReady(f"nothing to roll back: no {kind} version was ever published for users")
    manifest = _older(store, kind, before) if not version else _named(store, kind, version, before)
    check(store.load(kind, manifest.version))
    store.set_current(kind, manifest.version)
    return before, manifest


def _named(store: ArtifactStore, kind: str, version: str, before: str) -> Manifest:
    known = ", ".join(one.version for one in _servable(store, kind)[:MAX_LISTED]) or "none"
    if version == before:
        raise InvalidField("version", version, "a version that is not current", f"it is in use; there are {known}")
    try:
        manifest = store.manifest(kind, version)
    except NotFound as error:
        raise NotFound(f"no {kind} version {shown(version)}; there are {known}") from error
    if not _is_servable(manifest):
        hint = f"it was trained for measuring and has not seen all events; there are {known}"
        raise InvalidField("version", version, f"a version of stage {Stage.SERVING}", hint)
    return manifest


def _older(store: ArtifactStore, kind: str, before: str) -> Manifest:
    # Names begin with the time of their making.
    for manifest in _servable(store, kind):
        if manifest.version < before:
            return manifest
    raise NotFound(
        f"nothing to roll back to: {kind} {before} is current, and the store has no older version of its kind"
    )


def _servable(store: ArtifactStore, kind: str) -> list[Manifest]:
    """Returns the manifests of what users may get, newest first; those that cannot be read are passed over."""
    found = []
    for name in store.versions(kind):
        try:
            manifest = store.manifest(kind, name)
        except (CorruptData, NotFound):
            continue
        if _is_servable(manifest):
            found.append(manifest)
    return found


def _is_servable(manifest: Manifest) -> bool:
    return manifest.labels.get("stage", Stage.SERVING) == Stage.SERVING
