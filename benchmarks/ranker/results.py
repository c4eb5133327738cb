"""Figures of several runs on one page: of each part the newest, with the day and the commit of its own measurement."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PATTERN = "ranker-*.json"


def stamp(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns when and at which commit a part is measured now."""
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": environment["commit"]}


def earlier(folder: Path) -> dict[str, Any]:
    """Returns `parts` and `measured` of all runs whose figures are in the folder; of each part those measured last.

    A file from before parts were stamped counts as of the start of its day.
    """
    parts: dict[str, Any] = {}
    measured: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob(PATTERN)):
        run = json.loads(path.read_text())
        environment = run["environment"]
        for name, figures in run["parts"].items():
            own = run.get("measured", {}).get(name) or {"at": environment["date"], "commit": environment["commit"]}
            if name not in measured or own["at"] >= measured[name]["at"]:
                parts[name], measured[name] = figures, own
    return {"parts": parts, "measured": measured}
