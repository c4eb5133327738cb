"""`fusionrec demo`: start, load, train, recommend, change something live, measure, stop."""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from shared.cli import reports
from shared.cli.addresses import SERVICES, Addresses
from shared.cli.console import Refusal, bars, out, say, spinner
from shared.cli.demo import movielens, story
from shared.cli.demo.steps import Steps
from shared.cli.evaluate import evaluate_protocol
from shared.cli.importing.checkpoint import Checkpoint, Progress
from shared.cli.importing.events import EventRows
from shared.cli.importing.items import ItemRows
from shared.cli.importing.pipeline import EVENTS, ITEMS, Pipeline
from shared.cli.jobs import COMPOSE, LOCAL, Jobs
from shared.cli.processes import free_port_base, start_fleet, stop_as_interrupt, taken_ports
from shared.cli.readiness import WARM_UP_S, await_live
from shared.cli.session import Session, session_options
from shared.cli.train import train_protocol
from shared.cli.up import only_one, running_state
from shared.cli.watching import LIVE, SERVING, dying_words, wait_until
from shared.cli.workspace import Workspace
from shared.data.splits import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shared.cli.calls import Services
    from shared.cli.importing.pipeline import Writing

_DATA = (*SERVICES, "logs")


@dataclass(frozen=True)
class _Running:
    """The services, and how to wait until those that still start answer."""

    services: Services
    settle: Callable[[], bool]


@click.command()
@click.option("--keep", is_flag=True, help="Leave the services running afterwards, until Ctrl-C.")
@click.option(
    "--compose", is_flag=True, help="Use the containers that `docker-compose up -d` runs, not processes of its own."
)
@session_options
def demo(session: Session, *, keep: bool, compose: bool) -> None:
    """The whole path on MovieLens, in a data directory of its own (DATA_DIR/demo, emptied first).

    Starts the five services, brings in 9,066 movies and 100,004 ratings, trains, recommends with reasons to a cold, a
    warm and a hot user, shows that a new event and a new item change the answer at once, and measures how good it is.
    """
    steps = Steps()
    workspace = Workspace(session.workspace.folder / "demo")
    with stop_as_interrupt(), only_one(workspace):
        _empty(workspace)
        workspace.create()
        port_base = session.port_base
        if not compose:
            port_base = _ports(port_base)
        own = Session(workspace, port_base or Addresses().port_base)
        with _containers(own, steps) if compose else _processes(own, steps) as running:
            _play(running, Jobs(own, COMPOSE if compose else LOCAL), workspace, steps)
            if keep and not compose:
                _linger(own)
    steps.show()


def _play(running: _Running, jobs: Jobs, workspace: Workspace, steps: Steps) -> None:
    services = running.services
    cast = story.Cast.now()
    with steps.step("load MovieLens"), spinner("reading the data set"):
        data = movielens.load()
    with steps.step("import movies and ratings through gRPC"):
        _import(services, ITEMS, data.items, workspace)
        _import(services, EVENTS, data.events, workspace)
    with steps.step("train"):
        running.settle()
        train_protocol(services, jobs, Protocol.WARM)
    with steps.step("recommend to a cold, a warm and a hot user"):
        story.three_users(services, cast)
    with steps.step("a new event, a new item"):
        story.live_event(services, cast)
        story.live_item(services, cast)
    with steps.step("evaluate the warm protocol over the served path"):
        reports.show(evaluate_protocol(services, jobs, Protocol.WARM, variants="default"), out())


def _import(services: Services, writing: Writing, source: movielens.RowsInMemory, workspace: Workspace) -> None:
    name = workspace.folder
    converter: Any = ItemRows(name, source, {}) if writing is ITEMS else EventRows(name, source, {})
    checkpoint = Checkpoint(workspace, writing.what, services.addresses.address("ingestion"), workspace.folder, {})
    with bars() as shown:
        done = Pipeline(services, writing, source, "MovieLens", shown).run(converter, Progress(), checkpoint, None)
    say(f"{done.rows:,} {writing.what}: {done.accepted:,} accepted, {done.duplicate:,} there already")
    if done.rejected:
        raise Refusal(f"{done.rejected:,} rows of the demo's own data were rejected")


def _empty(workspace: Workspace) -> None:
    for name in _DATA:
        shutil.rmtree(workspace.folder / name, ignore_errors=True)
    for path in _left_over(workspace.run):
        path.unlink(missing_ok=True)


def _left_over(run: Path) -> list[Path]:
    return [*run.glob("import-*.json"), run / "state.json"]


def _ports(wanted: int | None) -> int:
    """Returns the first port: the wanted one, or the default, or a free one when the default's are taken."""
    addresses = Addresses() if wanted is None else Addresses(wanted)
    taken = taken_ports(addresses)
    if not taken or wanted is not None:
        return addresses.port_base
    base = free_port_base(addresses)
    say(f"port {taken[0][0]} ({taken[0][1]}) is taken: the demo listens from port {base} on")
    return base


@contextlib.contextmanager
def _processes(session: Session, steps: Steps) -> Iterator[_Running]:
    """Runs the five as processes, from warm to stopped."""
    with session.services() as services, contextlib.ExitStack() as stack:
        with steps.step("start the five services"):
            fleet = start_fleet(session.addresses, session.workspace)
            stack.callback(_stop, fleet, session.workspace, steps)
            session.workspace.write_state(running_state(fleet, session.addresses))
            # The rest warms up while the data comes in.
            with spinner("waiting for ingestion"):
                wait_until(fleet, services, {"ingestion": SERVING}, timeout_s=WARM_UP_S)
        everyone = dict.fromkeys(SERVICES, LIVE)
        try:
            yield _Running(services, lambda: wait_until(fleet, services, everyone, timeout_s=WARM_UP_S))
        except Refusal as refusal:
            # A service that died is the reason behind the reason.
            dead = [dying_words(child) for child in fleet.children if not child.running]
            raise Refusal("\n".join([refusal.message, *dead]), refusal.exit_code) from refusal


def _stop(fleet: Any, workspace: Workspace, steps: Steps) -> None:
    with steps.step("stop"), spinner("stopping the five services"):
        fleet.stop()
        workspace.state_file.unlink(missing_ok=True)


@contextlib.contextmanager
def _containers(session: Session, steps: Steps) -> Iterator[_Running]:
    """Waits for the containers; leaves them running."""
    with session.services() as services:
        with steps.step("wait for the containers"):
            await_live(services)
        yield _Running(services, lambda: True)


def _linger(session: Session) -> None:
    base, folder = session.addresses.port_base, session.workspace.folder
    say(
        f"the services keep running (fusionrec recommend {story.HOT_USER} --port-base {base} --data-dir {folder}). "
        "Ctrl-C stops them"
    )
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(1)
