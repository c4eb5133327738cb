"""`fusionrec train`: new models from what is stored, taken up by the running servers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb

from shared.cli.console import Refusal, say, spinner
from shared.cli.jobs import COMPOSE, EXIT_NO_DATA, LOCAL, Jobs
from shared.cli.readiness import await_ready
from shared.cli.session import Session, session_options
from shared.data.splits import Protocol, Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fusionrec.common.v1.serving_pb2 import VersionInfo

    from shared.cli.calls import Services

TRAINED = ("candidates", "ranker")
"""The services that train, in the order of need."""
TAKE_UP_S = 120.0
"""Time that a running server gets to load and warm a new version, seconds."""
POLL_S = 0.3

protocol_choice = click.Choice([protocol.value for protocol in Protocol])


def jobs_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --jobs to a command."""
    return click.option(
        "--jobs",
        "where",
        type=click.Choice([LOCAL, COMPOSE]),
        default=LOCAL,
        show_default=True,
        help="Run the jobs as processes of this machine, or in the running containers of docker-compose.yml.",
    )(command)


@click.command()
@click.option(
    "--protocol",
    type=protocol_choice,
    default=Protocol.WARM.value,
    show_default=True,
    help="warm trains what is served; the others only what the evaluation of that protocol measures.",
)
@jobs_option
@session_options
def train(session: Session, *, protocol: str, where: str) -> None:
    """Train the candidates' models, then the ranker's; wait until the running servers use them."""
    with session.services() as services:
        train_protocol(services, Jobs(session, where), Protocol(protocol))


def train_protocol(services: Services, jobs: Jobs, protocol: Protocol) -> None:
    """Trains candidates, then ranker, each waited for.

    Raises:
        Refusal: there are no events, a job failed, or a server did not take the version up.

    """
    stats = services.call("ingestion", "GetStats", pb.GetStatsRequest())
    if not stats.events:
        raise Refusal(
            "there are no events to learn from: bring some in with `fusionrec import items FILE` and "
            "`fusionrec import events FILE`, then train again (`fusionrec demo` brings its own)",
            EXIT_NO_DATA,
        )
    say(f"training ({protocol}) on {stats.events:,} events of {stats.users:,} users and {stats.items:,} items")
    # The language model may still be warming up: the job reads the log meanwhile and then waits for it.
    await_ready(services, ("ingestion",))
    for service in TRAINED:
        _train_one(services, jobs, service, protocol)


def _train_one(services: Services, jobs: Jobs, service: str, protocol: Protocol) -> None:
    before = {info.version for info in services.versions(service)}
    jobs.run(service, ["train", "--protocol", protocol, "--progress", "json"], f"train {service}")
    with spinner(f"{service} takes up the new version"):
        version = _await_version(services, service, protocol, before)
    say(f"{service} has {version}")


def _await_version(services: Services, service: str, protocol: Protocol, before: set[str]) -> str:
    stage = Stage.SERVING if protocol is Protocol.WARM else Stage.TEST
    until = time.monotonic() + TAKE_UP_S
    while time.monotonic() < until:
        for info in services.versions(service):
            if info.version not in before and is_for(info, protocol, stage) and _in_use(services, service, info, stage):
                return str(info.version)
        time.sleep(POLL_S)
    why = services.reason(service) or "it gives no reason; its log may"
    raise Refusal(f"{service} did not take up its new version within {TAKE_UP_S:.0f} s: {why}")


def _in_use(services: Services, service: str, info: VersionInfo, stage: Stage) -> bool:
    return stage is not Stage.SERVING or (info.is_current and services.ready(service))


def is_for(info: VersionInfo, protocol: Protocol, stage: Stage) -> bool:
    """Returns whether a version was trained for this protocol and stage."""
    return info.labels.get("protocol") == protocol and info.labels.get("stage") == stage
