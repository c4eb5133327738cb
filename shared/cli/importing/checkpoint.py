"""How far an import has come: kept per file, so that the same command goes on where it was interrupted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from shared.cli.workspace import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from shared.cli.workspace import Workspace


@dataclass
class Progress:
    """What is known to be stored, counted in rows from the start of the file, without gaps.

    `rows` = `accepted` + `duplicate` + `rejected`, always. `cursor` is the log position of the last answer: a log
    that does not know it is another log. `rejects_bytes` is the length of the file of rejected rows.
    """

    rows: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    unknown_items: int = 0
    cursor: str = ""
    rejects_bytes: int = 0


class Checkpoint:
    """The file that keeps the progress of one import: one (address, file, size, time of change, options)."""

    def __init__(self, workspace: Workspace, what: str, address: str, file: Path, options: dict[str, object]) -> None:
        stat = file.stat()
        identity = [what, address, str(file.resolve()), stat.st_size, stat.st_mtime_ns, sorted(options.items())]
        digest = hashlib.sha256(json.dumps(identity, default=str).encode()).hexdigest()[:16]
        self._path = workspace.run / f"import-{what}-{digest}.json"

    def load(self) -> Progress:
        """Returns how far an interrupted import came; the beginning when there was none."""
        try:
            kept = json.loads(self._path.read_text())
            return Progress(**{field.name: kept[field.name] for field in fields(Progress)})
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return Progress()

    def save(self, progress: Progress) -> None:
        """Keeps the progress."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, json.dumps(asdict(progress)))

    def drop(self) -> None:
        """Forgets the progress: the import is complete, or begins anew."""
        self._path.unlink(missing_ok=True)
