"""Where an unfinished training keeps what it goes on from: one folder per run, named after all that it is told."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = structlog.get_logger(__name__)

RUN_FILE = "run.json"
NAME_LENGTH = 16
"""Hex digits of a run's name."""
ABANDONED_S = 7 * 86_400.0
"""Runs that nobody went on with for this long are deleted when another one begins, seconds."""


class Run:
    """One training: the same job with the same arguments finds its run again, a finished one leaves nothing behind."""

    def __init__(self, root: Path, told: Mapping[str, Any]) -> None:
        """`told` is JSON values: base, protocol, stage, method and parameters."""
        content = json.dumps(told, sort_keys=True, default=str)
        self.name = hashlib.sha256(content.encode()).hexdigest()[:NAME_LENGTH]
        self.folder = root / self.name
        self._root = root

    @property
    def sequence(self) -> int | None:
        """Last record of the log that the unfinished run read; None when there is none to go on with."""
        try:
            return int(json.loads((self.folder / RUN_FILE).read_text())["sequence"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, sequence: int) -> None:
        """Notes what the run reads, so that it goes on with the same data."""
        self._forget_abandoned()
        if self.sequence == sequence:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / RUN_FILE).write_text(json.dumps({"sequence": sequence}))

    def end(self) -> None:
        """Deletes what was kept."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _forget_abandoned(self) -> None:
        if not self._root.is_dir():
            return
        for folder in self._root.iterdir():
            if folder.is_dir() and folder != self.folder and time.time() - _touched(folder) > ABANDONED_S:
                log.info("an abandoned training is deleted", run=folder.name)
                shutil.rmtree(folder, ignore_errors=True)


def _touched(folder: Path) -> float:
    return max((file.stat().st_mtime for file in folder.iterdir()), default=folder.stat().st_mtime)
