"""Local copies of remote artifacts: verified, a bounded number, gone with the process when nobody chose the folder."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from shared.artifacts.manifest import verify
from shared.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.artifacts.manifest import Manifest


class Fetched:
    """Keeps the `keep` last used versions of each kind under `root` (None: a temporary folder).

    A version that is dropped may be in use: what a server has read stays in its memory, and what it has mapped stays
    on the disk until it lets go.
    """

    def __init__(self, root: Path | None, keep: int) -> None:
        self._root = root
        self._keep = keep
        self._lock = threading.Lock()

    def folder(self, manifest: Manifest, download: Callable[[Path], None]) -> Path:
        """Returns the folder of a version; `download(target)` writes its files where there is no good copy yet.

        Raises:
            FileNotFoundError: as `download` does.

        """
        place = self._place() / manifest.kind
        folder = place / manifest.version
        if not _is_good(manifest, folder):
            # With a dot in front: the name of no version.
            partial = place / f".{manifest.version}.{uuid.uuid4().hex[:8]}"
            try:
                download(partial)
                if not folder.is_dir():
                    partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        # The file system's own "now" is too coarse to tell two uses apart.
        now = time.time_ns()
        os.utime(folder, ns=(now, now))
        self._drop_the_oldest(place)
        return folder

    def _place(self) -> Path:
        with self._lock:
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix="fusionrec-artifacts-"))
                atexit.register(shutil.rmtree, self._root, ignore_errors=True)
            return self._root

    def _drop_the_oldest(self, place: Path) -> None:
        with self._lock:
            versions = [entry for entry in place.iterdir() if not entry.name.startswith(".")]
            for old in sorted(versions, key=lambda entry: entry.stat().st_mtime_ns, reverse=True)[self._keep :]:
                shutil.rmtree(old, ignore_errors=True)


def _is_good(manifest: Manifest, folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        verify(manifest, folder)
    except CorruptData:
        # The copy here has rotted; the store's may be good.
        shutil.rmtree(folder)
        return False
    return True
