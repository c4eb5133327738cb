"""Rejected rows: the first ones shown, all of them counted, all of them kept when a file is given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Self

from shared.cli.console import say

if TYPE_CHECKING:
    from pathlib import Path

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Reject:
    """One rejected row: where it begins, why, what it was."""

    line: int
    reason: str
    row: Any


class Rejects:
    """Tells of rejected rows. A context; `bytes` is what the file holds so far.

    The file has one JSON object a line: {"line", "reason", "row"}.
    """

    def __init__(self, file_name: str, unit: str, path: Path | None, keep_bytes: int, already: int) -> None:
        self._file_name = file_name
        self._unit = unit
        self._shown = already
        self._file: IO[bytes] | None = None
        if path is not None:
            self._file = path.open("r+b" if keep_bytes and path.exists() else "wb")
            # What an interrupted import wrote after its last checkpoint comes again.
            self._file.truncate(keep_bytes)
            self._file.seek(0, 2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def bytes(self) -> int:
        """Length of the file of rejected rows; 0 without one."""
        return self._file.tell() if self._file is not None else 0

    def add(self, reject: Reject) -> None:
        """Tells of one rejected row."""
        if self._shown < SHOWN:
            say(f"{self._file_name}, {self._unit} {reject.line}: {reject.reason}")
        elif self._shown == SHOWN:
            say(f"{self._file_name}: more rejected rows are counted, not shown (--rejects FILE keeps all)")
        self._shown += 1
        if self._file is not None:
            line = {"line": reject.line, "reason": reject.reason, "row": reject.row}
            self._file.write(json.dumps(line, default=str).encode() + b"\n")

    def flush(self) -> None:
        """Hands what was written to the system."""
        if self._file is not None:
            self._file.flush()
