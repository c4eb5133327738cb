"""Rolling back: CURRENT is pointed at the version before, which running servers swap to as to a new one."""

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
    """Points CURRENT at `version`, or, when that is empty, at the one that was current before.

    The one before is what users had: rolling back again goes further back, and what was rolled back from is not taken
    again unless it is named. Where the store remembers nothing of what was current (it was written by an older
    release, or all of that is deleted), it is the newest version of an older name.

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
        NotFound: there is no such version, or none before.
        InvalidField: the version is current already, or is for measuring.
        CorruptData: its files are damaged.
        CurrentMoved: another version became current while this one was looked at; it stays.
        FusionrecError: what `check` raises.

    """
    before = store.current(kind)
    if before is None:
        raise ModelNotReady(f"nothing to roll back: no {kind} version was ever published for users")
    manifest = _before(store, kind, before) if not version else _named(store, kind, version, before)
    check(store.load(kind, manifest.version))
    store.set_current(kind, manifest.version, instead_of=before)
    return before, manifest


def spared(store: ArtifactStore, kind: str) -> frozenset[str]:
    """Returns what is not to be deleted, however old: what is current, and what users had before that."""
    current = store.current(kind) or ""
    before = _remembered(store, kind, current)
    return frozenset({current} if before is None else {current, before.version})


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


def _before(store: ArtifactStore, kind: str, current: str) -> Manifest:
    remembered = _remembered(store, kind, current)
    if remembered is not None:
        return remembered
    left = store.history(kind).left
    # Names begin with the time of their making.
    for manifest in _servable(store, kind):
        if manifest.version < current and manifest.version not in left:
            return manifest
    raise NotFound(
        f"nothing to roll back to: {kind} {current} is current, and the store has no older version of its kind that "
        "was not rolled back from; name one to go to it all the same"
    )


def _remembered(store: ArtifactStore, kind: str, current: str) -> Manifest | None:
    """Returns the last version that was current before, of those that are still there."""
    for name in reversed(store.history(kind).trail):
        manifest = None if name == current else _readable(store, kind, name)
        if manifest is not None and _is_servable(manifest):
            return manifest
    return None


def _servable(store: ArtifactStore, kind: str) -> list[Manifest]:
    """Returns the manifests of what users may get, newest first; those that cannot be read are passed over."""
    found = (_readable(store, kind, name) for name in store.versions(kind))
    return [manifest for manifest in found if manifest is not None and _is_servable(manifest)]


def _readable(store: ArtifactStore, kind: str, name: str) -> Manifest | None:
    try:
        return store.manifest(kind, name)
    except (CorruptData, NotFound):
        return None


def _is_servable(manifest: Manifest) -> bool:
    return manifest.labels.get("stage", Stage.SERVING) == Stage.SERVING
