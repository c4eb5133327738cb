"""The services that Recommend stands on, as processes: trained once, then served with the settings that a part asks."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.candidates.fleet import START_S
from benchmarks.environment import describe
from benchmarks.ranker import prepare
from services.ranker.fusion.registry import FUSIONS
from shared.testing.processes import ROOT, ServiceProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.candidates.data import Data
    from benchmarks.candidates.fleet import Fleet
    from shared.data.splits import Protocol

ALL_FUSIONS = ",".join(FUSIONS)


@dataclass(frozen=True)
class Served:
    """A running ranker and its candidates."""

    ranker: ServiceProcess
    candidates: ServiceProcess


@dataclass(frozen=True)
class World:
    """Running ingestion and embedding; candidates and ranker are trained, and run when asked."""

    fleet: Fleet
    folder: Path
    data: Data

    @property
    def artifacts(self) -> Path:
        """The ranker's versions."""
        return self.folder / "ranker"

    def environment(self, candidates: str) -> dict[str, str]:
        """Returns what lets a ranker find its neighbours."""
        return {
            "RANKER_INGESTION_ADDRESS": self.fleet.ingestion.address,
            "RANKER_EMBEDDING_ADDRESS": self.fleet.embedding.address,
            "RANKER_CANDIDATES_ADDRESS": candidates,
            "RANKER_ARTIFACTS": str(self.artifacts),
            "RANKER_CHECKPOINTS": str(self.folder / "checkpoints"),
        }

    @contextmanager
    def served(
        self, candidates: Mapping[str, str] | None = None, ranker: Mapping[str, str] | None = None
    ) -> Iterator[Served]:
        """Runs candidates and ranker with these settings on top; yields when both are SERVING."""
        with ExitStack() as running:
            own = running.enter_context(self.fleet.candidates({**prepare.ALL_PINNED, **(candidates or {})}))
            settings = {**self.environment(own.address), **(ranker or {})}
            process = running.enter_context(ServiceProcess("ranker", settings))
            process.wait_ready(START_S)
            yield Served(process, own)

    def train(self, fusions: Mapping[Protocol, str]) -> None:
        """Trains the ranker with these fusions by protocol, unless this commit has done so in the same folder."""
        marks = {protocol: self.folder / f"ranker-{protocol.value}" for protocol in fusions}
        states = {protocol: f"{describe()['commit']} {names}" for protocol, names in fusions.items()}
        wanted = [one for one, mark in marks.items() if not mark.exists() or mark.read_text() != states[one]]
        if not wanted:
            return
        with self.fleet.candidates(prepare.ALL_PINNED) as candidates:
            environment = {**os.environ, **self.environment(candidates.address)}
            for protocol in wanted:
                say(f"training the ranker, {protocol.value}")
                run(
                    "services.ranker",
                    ["train", "--protocol", protocol.value, "--fusion", fusions[protocol]],
                    environment,
                )
                marks[protocol].write_text(states[protocol])


@contextmanager
def trained_world(folder: Path, data: Data, fusions: Mapping[Protocol, str]) -> Iterator[World]:
    """Runs ingestion and embedding with `data`; candidates and ranker are trained for each protocol of `fusions`."""
    folder.mkdir(parents=True, exist_ok=True)
    say(f"starting the services with {folder.name}")
    with prepare.trained_fleet(folder, list(fusions), data) as fleet:
        world = World(fleet, folder, data)
        world.train(fusions)
        yield world


def run(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Runs a job of a service to its end; returns what it printed.

    Raises:
        RuntimeError: it failed; the text is the end of what it wrote to standard error.

    """
    command = [sys.executable, "-m", module, *arguments]
    ended = subprocess.run(command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{module} {arguments[0]} ended with {ended.returncode}: {ended.stderr[-2_000:]}")
    return ended.stdout


def say(what: str) -> None:
    """Tells on standard error what is done now."""
    sys.stderr.write(f"benchmarks.ranker: {what}\n")
    sys.stderr.flush()
