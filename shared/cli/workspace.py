"""The data directory: where the local services keep everything, and what the command itself remembers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""The tree that the command runs from: what the services' processes need on their path."""


@dataclass(frozen=True)
class Workspace:
    """The layout of one data directory. `folder` is absolute; nothing is created before it is needed."""

    folder: Path

    @property
    def event_store(self) -> Path:
        """The file of the event log and the catalogue."""
        return self.folder / "ingestion" / "events.db"

    def artifacts(self, service: str) -> Path:
        """The folder of a service's artifacts."""
        return self.folder / service / "artifacts"

    def log(self, service: str) -> Path:
        """The file that a service's process writes its log to."""
        return self.folder / "logs" / f"{service}.log"

    @property
    def run(self) -> Path:
        """What is true while something runs: state, lock, checkpoints."""
        return self.folder / "run"

    @property
    def state_file(self) -> Path:
        """Who runs here: written by `fusionrec up`, removed when it ends."""
        return self.run / "state.json"

    def create(self) -> None:
        """Makes the folders that the services and the command write to."""
        for folder in (self.event_store.parent, self.folder / "logs", self.run):
            folder.mkdir(parents=True, exist_ok=True)
        for service in ("embedding", "candidates", "ranker", "evaluator"):
            self.artifacts(service).mkdir(parents=True, exist_ok=True)

    def running_port_base(self) -> int | None:
        """Returns the first port of the services that `fusionrec up` runs here; None when it does not run."""
        state = self.read_state()
        if state is None or not _alive(int(state.get("pid", 0))):
            return None
        return int(state["port_base"])

    def read_state(self) -> dict[str, Any] | None:
        """Returns the state file's content; None when there is none that can be read."""
        try:
            state = json.loads(self.state_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return state if isinstance(state, dict) else None

    def write_state(self, state: dict[str, Any]) -> None:
        """Writes the state file in one step."""
        write_whole(self.state_file, json.dumps(state, indent=2) + "\n")


def write_whole(path: Path, content: str) -> None:
    """Replaces a file in one step: a reader sees the old content or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(content)
    temporary.replace(path)


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
