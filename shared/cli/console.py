"""What the command shows: answers on standard output, everything about the work on standard error."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REJECTED_ROWS = 3

LINE_EVERY_S = 5.0
"""Without a terminal, a running stage that moves is told of in one plain line this often, seconds."""


class Refusal(click.ClickException):
    """The command cannot do what was asked; the message says what to do. No traceback."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click's own classes set it on the instance, too


def out() -> Console:
    """Returns the console of answers. Not cached: tests and pipes replace the stream."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def err() -> Console:
    """Returns the console of progress, notes and errors."""
    console = Console(stderr=True, highlight=False)
    return console if console.is_terminal else Console(stderr=True, highlight=False, width=160, soft_wrap=True)


def say(message: str) -> None:
    """Writes one line about the work."""
    err().print(message, markup=False)


def heading(console: Console, text: str) -> None:
    """Writes the line above a table. Not the table's own title, which breaks at a narrow table's edge."""
    console.print(text, style="bold", markup=False)


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Returns an empty table; the columns named in `right` are aligned to the right."""
    grid = Table(header_style="bold")
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return grid


class Bars:
    """Progress of stages: bars on a terminal, plain lines elsewhere. Use `bars()`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._tasks: dict[str, int] = {}
        self._last_line: dict[str, tuple[float, str]] = {}
        self._finished: set[str] = set()
        if console.is_terminal:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=console,
            )

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, stage: str, done: float, total: float | None, note: str = "") -> None:
        """Moves the bar of `stage` to `done` of `total` (None: a spinner)."""
        if self._progress is None:
            self._line(stage, done, total, note)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, note=note)
        self._progress.update(self._tasks[stage], completed=done, total=total, note=note)  # type: ignore[arg-type]  # TaskID is an int

    def finish(self, stage: str, note: str = "") -> None:
        """Ends a stage that had no total."""
        self.update(stage, 1, 1, note)

    def _line(self, stage: str, done: float, total: float | None, note: str) -> None:
        ended = total is not None and done >= total
        now = time.monotonic()
        share = f"{100 * done / total:.0f} %" if total else "…"
        line = f"{stage}: {'done' if ended else share} {note}".rstrip()
        last, said = self._last_line.get(stage, (-LINE_EVERY_S, ""))
        if stage in self._finished or line == said or not (ended or now - last >= LINE_EVERY_S):
            return
        self._last_line[stage] = (now, line)
        if ended:
            self._finished.add(stage)
        self._console.print(line, markup=False)


def bars() -> Bars:
    """Returns progress on standard error, to be used as a context."""
    return Bars(err())


@contextmanager
def spinner(what: str) -> Iterator[None]:
    """Shows that `what` is going on; a plain line where there is no terminal."""
    console = err()
    if console.is_terminal:
        with console.status(what):
            yield
        return
    console.print(f"{what} …", markup=False)
    yield
