"""The steps of the demo, named before they run and timed."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared.cli.console import err, heading, out, table

if TYPE_CHECKING:
    from collections.abc import Iterator


class Steps:
    """Names each step, and says in the end how long each took."""

    def __init__(self) -> None:
        self._times: list[tuple[str, float]] = []
        self._began = time.monotonic()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Runs a step."""
        err().rule(f"{len(self._times) + 1}. {name}", align="left")
        started = time.monotonic()
        yield
        self._times.append((name, time.monotonic() - started))

    def show(self) -> None:
        """Prints the times."""
        grid = table("step", "seconds", right=("seconds",))
        for name, seconds in self._times:
            grid.add_row(name, f"{seconds:.1f}")
        grid.add_row("in all", f"{time.monotonic() - self._began:.1f}")
        console = out()
        heading(console, "where the time went")
        console.print(grid)
