"""What the options common to all commands come to: the data directory, the addresses, the services."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shared.cli.addresses import DEFAULT_PORT_BASE, MAX_PORT_BASE, Addresses
from shared.cli.calls import Services
from shared.cli.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_DATA_DIR = ".fusionrec"


@dataclass(frozen=True)
class Session:
    """One run of the command. `port_base` is None when neither option nor environment said it."""

    workspace: Workspace
    port_base: int | None

    @property
    def addresses(self) -> Addresses:
        """Where the services are: as told, else where `fusionrec up` runs on this data directory, else the default."""
        if self.port_base is not None:
            return Addresses(self.port_base)
        return Addresses(self.workspace.running_port_base() or DEFAULT_PORT_BASE)

    def services(self) -> Services:
        """Returns the services, to be used as a context."""
        return Services(self.addresses)


def session_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --data-dir and --port-base to a command and hands it a `Session` as its first argument."""

    @click.option(
        "--data-dir",
        envvar="FUSIONREC_DATA_DIR",
        default=DEFAULT_DATA_DIR,
        show_default=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder that everything is kept in (env FUSIONREC_DATA_DIR).",
    )
    @click.option(
        "--port-base",
        envvar="FUSIONREC_PORT_BASE",
        type=click.IntRange(1, MAX_PORT_BASE),
        help=f"First of the five ports; metrics are 1000 above (env FUSIONREC_PORT_BASE).  [default: "
        f"{DEFAULT_PORT_BASE}, or that of the `fusionrec up` running on this data directory]",
    )
    @functools.wraps(command)
    def with_session(data_dir: Path, port_base: int | None, **options: Any) -> Any:
        return command(Session(Workspace(data_dir.absolute()), port_base), **options)

    return with_session
