"""`fusionrec up`: the five services as local processes, until Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Self

import click
from rich.live import Live

from shared.cli import watching
from shared.cli.addresses import SERVICES
from shared.cli.console import EXIT_FAILED, Refusal, err, say, table
from shared.cli.processes import start_fleet, stop_signals
from shared.cli.reviving import Reviver
from shared.cli.session import Session, session_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.table import Table

    from shared.cli.addresses import Addresses
    from shared.cli.calls import Services
    from shared.cli.processes import Fleet
    from shared.cli.watching import State
    from shared.cli.workspace import Workspace

_STYLES = {
    watching.STARTING: "yellow",
    watching.LIVE: "cyan",
    watching.SERVING: "green",
    watching.SILENT: "yellow",
    watching.DEAD: "bold red",
}


@click.command()
@session_options
def up(session: Session) -> int:
    """Run the five services on this machine until Ctrl-C or SIGTERM.

    Logs go to files under DATA_DIR/logs; DATA_DIR/run/state.json has the process ids. A service that dies is
    reported with the end of its log and started again after 1 s, 2 s, 4 s and so on up to 30 s; meanwhile the others
    answer as well as they can without it. After 5 deaths within 2 minutes, or when its settings are wrong, it is given
    up and the others keep running. Exit code 0 after a clean stop, 1 when a service was given up.
    """
    with stop_signals() as caught, only_one(session.workspace), session.services() as services:
        fleet = start_fleet(services.addresses, session.workspace)
        try:
            given_up = _watch(fleet, services, session.workspace, caught)
        finally:
            say("stopping …")
            killed = fleet.stop()
            session.workspace.state_file.unlink(missing_ok=True)
        if killed:
            say(f"did not stop in time and were killed: {', '.join(killed)}")
        if given_up:
            say(f"given up on the way: {', '.join(given_up)}")
        say("stopped")
    return EXIT_FAILED if given_up else 0


@contextlib.contextmanager
def only_one(workspace: Workspace) -> Iterator[None]:
    """Holds the data directory: two servers must not write to one event store.

    Raises:
        Refusal: another `fusionrec up` or `demo` has it.

    """
    workspace.run.mkdir(parents=True, exist_ok=True)
    with (workspace.run / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = (workspace.read_state() or {}).get("pid", "unknown")
            raise Refusal(
                f"{workspace.folder} is in use by another fusionrec (process {holder}): "
                "stop it, or choose another --data-dir"
            ) from error
        yield


def running_state(fleet: Fleet, addresses: Addresses) -> dict[str, object]:
    """Returns the content of the state file."""
    return {
        "pid": os.getpid(),
        "port_base": addresses.port_base,
        "started_at": fleet.started_at.isoformat(timespec="seconds"),
        "services": {
            child.service: {
                "pid": child.process.pid,
                "address": addresses.address(child.service),
                "metrics_port": addresses.metrics_port(child.service),
                "log": str(child.log),
            }
            for child in fleet.children
        },
    }


def _watch(fleet: Fleet, services: Services, workspace: Workspace, caught: list[int]) -> list[str]:
    """Shows the states and revives the dead until a signal comes or all are given up. Returns who was given up."""
    addresses = services.addresses
    workspace.write_state(running_state(fleet, addresses))
    board = _Board(fleet, addresses, err())
    reviver = Reviver(fleet.restart, board.note)
    with board:
        while not caught and len(reviver.given_up) < len(SERVICES):
            started = [child for child in fleet.children if reviver.look(child)]
            if started:
                workspace.write_state(running_state(fleet, addresses))
            states = {child.service: watching.state_of(child, services) for child in fleet.children}
            board.show({child.service: reviver.seen(child, states[child.service]) for child in fleet.children})
            time.sleep(watching.POLL_S)
    return reviver.given_up


class _Board:
    """The states of the five: a live table on a terminal, elsewhere a line for each change."""

    def __init__(self, fleet: Fleet, addresses: Addresses, console: Console) -> None:
        self._fleet = fleet
        self._addresses = addresses
        self._console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._shown: dict[str, State] = {}
        self._told = False

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, states: dict[str, State]) -> None:
        """Shows the states."""
        if self._live is not None:
            self._live.update(self._table(states))
        else:
            self._lines(states)
        self._shown = states
        if not self._told and all(state.state in {watching.LIVE, watching.SERVING} for state in states.values()):
            self._told = True
            self.note("all five are live. Ctrl-C stops them")

    def note(self, message: str) -> None:
        """Writes something that stays."""
        self._console.print(message, markup=False)

    def _table(self, states: dict[str, State]) -> Table:
        grid = table("service", "address", "pid", "state", "", right=("pid",))
        for child in self._fleet.children:
            state = states[child.service]
            grid.add_row(
                child.service,
                self._addresses.address(child.service),
                str(child.process.pid),
                f"[{_STYLES[state.state]}]{state.state}[/]",
                state.detail,
            )
        return grid

    def _lines(self, states: dict[str, State]) -> None:
        for child in self._fleet.children:
            state = states[child.service]
            if state != self._shown.get(child.service):
                address = self._addresses.address(child.service)
                self.note(f"{child.service} {address} pid {child.process.pid}: {state.state} {state.detail}".rstrip())
