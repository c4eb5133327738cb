"""Batch jobs of the services as processes, here or in their containers, with their progress drawn."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.cli.console import Refusal, bars
from shared.cli.environment import environment
from shared.cli.processes import guarded
from shared.cli.workspace import ROOT

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

    from shared.cli.console import Bars
    from shared.cli.session import Session

LOCAL, COMPOSE = "local", "compose"
TAIL_LINES = 30
EXIT_NO_DATA = 2
"""Exit code of a job that has nothing to work on; its last line says what to do."""


@dataclass(frozen=True)
class Jobs:
    """Where jobs run: `local` (this machine, this interpreter) or `compose` (the services' running containers)."""

    session: Session
    where: str = LOCAL

    def run(self, service: str, arguments: list[str], label: str) -> str:
        """Runs `python -m services.<service> ARGUMENTS`, drawing its progress; returns its standard output.

        Raises:
            Refusal: it failed; the message ends with its last lines.

        """
        command, env, folder = self._launch(service, arguments)
        with subprocess.Popen(  # noqa: S603 (our own modules)
            command,
            env=env,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process:
            try:
                output, plain = _follow(process, label)
            except BaseException:
                process.terminate()
                raise
        if process.returncode == EXIT_NO_DATA and plain:
            raise Refusal(f"{label}: {plain[-1]}", EXIT_NO_DATA)
        if process.returncode:
            tail = "\n".join(f"  | {line}" for line in plain) or "  | (it said nothing)"
            raise Refusal(f"{label} failed with exit code {process.returncode}:\n{tail}")
        return output

    def _launch(self, service: str, arguments: list[str]) -> tuple[list[str], dict[str, str] | None, Path | None]:
        module = ["-m", f"services.{service}", *arguments]
        if self.where == COMPOSE:
            # From the tree's folder, as `make up` does: the same project, the same override files.
            return [*compose_command(), "exec", "-T", service, "python", *module], None, ROOT
        env = environment(service, self.session.addresses, self.session.workspace)
        return guarded([sys.executable, *module]), env, None


def compose_command() -> list[str]:
    """Returns how Docker Compose is called on this machine.

    Raises:
        Refusal: neither `docker compose` nor `docker-compose` is there.

    """
    if (
        shutil.which("docker")
        and not subprocess.run(
            ["docker", "compose", "version"],  # noqa: S607 (found on PATH, on purpose)
            capture_output=True,
            check=False,
        ).returncode
    ):
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise Refusal("neither `docker compose` nor `docker-compose` is on the PATH: install Docker Compose")


def _follow(process: subprocess.Popen[str], label: str) -> tuple[str, list[str]]:
    """Draws the progress on standard error until the job ends; returns standard output and the last other lines."""
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("the job was started without pipes")
    output: list[str] = []
    reader = threading.Thread(target=_drain, args=(process.stdout, output), daemon=True)
    reader.start()
    plain: deque[str] = deque(maxlen=TAIL_LINES)
    with bars() as progress:
        drawing = _Drawing(label, progress)
        for line in process.stderr:
            if not drawing.draw(line) and line.strip():
                plain.append(line.rstrip())
        process.wait()
        drawing.end()
    reader.join()
    return "".join(output), list(plain)


def _drain(stream: IO[str], into: list[str]) -> None:
    into.extend(stream)


class _Drawing:
    """The stages of one job, each ended when the next one begins."""

    def __init__(self, label: str, progress: Bars) -> None:
        self._label = label
        self._progress = progress
        self._stage = "starting"
        self._note = ""
        self._progress.update(f"{label}: starting", 0, None)

    def draw(self, line: str) -> bool:
        """Draws the line if it is one of progress; returns whether it was."""
        try:
            said = json.loads(line)
            stage, done, total = str(said["stage"]), float(said["done"]), float(said["total"] or 0)
        except (ValueError, KeyError, TypeError):
            return False
        if stage != self._stage:
            self.end()
            self._stage = stage
        self._note = "" if total else f"{done:,.0f}"
        self._progress.update(f"{self._label}: {stage}", done, total or None, self._note)
        return True

    def end(self) -> None:
        """Ends the running stage, also one that never said of how much it was."""
        self._progress.finish(f"{self._label}: {self._stage}", self._note)
