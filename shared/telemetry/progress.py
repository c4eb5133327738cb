"""How a job tells of its progress, always on standard error: a bar on a terminal, else lines; JSON for a program."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

LINE_EVERY_S = 5.0
JSON_EVERY_S = 0.2


class JobProgress(Protocol):
    """Told of a job's progress."""

    def update(self, stage: str, done: int, total: int) -> None:
        """Notes that `done` of `total` steps of a stage are done; total 0: not known."""


class BarProgress:
    """Bars for people at a terminal."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def update(self, stage: str, done: int, total: int) -> None:
        """Moves the stage's bar."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total or None)
        self._bars.update(self._tasks[stage], completed=done, total=total or None)


class LineProgress:
    """One line per stage and interval; the last state of a stage with a known total is always written."""

    def __init__(self, stream: TextIO, *, every_s: float, as_json: bool) -> None:
        self._stream = stream
        self._every_s = every_s
        self._as_json = as_json
        self._stage = ""
        self._next_at = 0.0

    def update(self, stage: str, done: int, total: int) -> None:
        """Writes a line when the stage begins, ends, or has been silent for the interval."""
        now = time.monotonic()
        if stage == self._stage and done != total and now < self._next_at:
            return
        self._stage, self._next_at = stage, now + self._every_s
        if self._as_json:
            line = json.dumps({"stage": stage, "done": done, "total": total})
        else:
            line = f"{stage}: {done}/{total}" if total else f"{stage}: {done}"
        print(line, file=self._stream, flush=True)


@contextlib.contextmanager
def open_progress(mode: str, stream: TextIO) -> Iterator[JobProgress]:
    """Yields progress of a mode: "json", or "auto" for bars where `stream` is a terminal and lines elsewhere."""
    if mode == "json":
        yield LineProgress(stream, every_s=JSON_EVERY_S, as_json=True)
    elif stream.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(file=stream)) as bars:
            yield BarProgress(bars)
    else:
        yield LineProgress(stream, every_s=LINE_EVERY_S, as_json=False)
