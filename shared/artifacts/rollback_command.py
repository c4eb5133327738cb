"""`python -m services.SERVICE rollback [VERSION]`: the same in every service that has models."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from shared.errors import FusionrecError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from shared.artifacts import Manifest

COMMAND = "rollback"


def add_rollback(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to a service's parser; its `version` is empty when none is named."""
    parser = commands.add_parser(COMMAND, help="go back to the version before the current one, or to VERSION")
    parser.add_argument("version", nargs="?", default="", help="a version of the store; the one before if left out")


def run_rollback(service: str, work: Callable[[], tuple[str, Manifest]]) -> int:
    """Rolls back and says what was done; returns the exit code: 0, or 1 with the reason on standard error."""
    try:
        before, manifest = work()
    except FusionrecError as error:
        sys.stderr.write(f"{service}: {error.message}\n")
        return 1
    words = " ".join(f"{name}={value}" for name, value in {**manifest.labels, **manifest.lineage}.items())
    sys.stdout.write(f"{manifest.version} before={before} {words}\n".rstrip() + "\n")
    return 0
