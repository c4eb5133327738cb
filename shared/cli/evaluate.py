"""`fusionrec evaluate`: how good the served answers are, per protocol."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from shared.cli import reports
from shared.cli.console import Refusal, out, say
from shared.cli.jobs import Jobs
from shared.cli.readiness import await_ready
from shared.cli.session import Session, session_options
from shared.cli.train import TRAINED, is_for, jobs_option, protocol_choice, train_protocol
from shared.data.splits import Protocol, Stage

if TYPE_CHECKING:
    from shared.cli.calls import Services


@click.command()
@click.option("--protocol", type=protocol_choice, help="One protocol only.  [default: all three]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, on standard output.")
@click.option("--retrain", is_flag=True, help="Train the evaluated versions anew, from what is stored now.")
@jobs_option
@session_options
def evaluate(session: Session, *, protocol: str | None, as_json: bool, retrain: bool, where: str) -> None:
    """Measure the served path: warm users, new items, new users.

    The versions that a protocol measures are trained first when they are missing. Without --protocol the JSON object
    is that of `warm`, with all three under "protocols".
    """
    protocols = [Protocol(protocol)] if protocol else list(Protocol)
    jobs = Jobs(session, where)
    with session.services() as services:
        found = {one.value: evaluate_protocol(services, jobs, one, retrain=retrain) for one in protocols}
    if as_json:
        click.echo(json.dumps(reports.merged(found), ensure_ascii=False))
        return
    for report in found.values():
        reports.show(report, out())


def evaluate_protocol(
    services: Services, jobs: Jobs, protocol: Protocol, *, retrain: bool = False, variants: str = "all"
) -> dict[str, Any]:
    """Runs one protocol over the served path; returns the report. `variants`: "all" fusions, or the "default" one.

    Raises:
        Refusal: training or evaluation failed.

    """
    await_ready(services)
    if retrain or not all(_has(services, service, protocol) for service in TRAINED):
        say(f"{protocol}: the versions to measure are {'trained anew' if retrain else 'not there yet: training them'}")
        train_protocol(services, jobs, protocol)
    arguments = ["run", "--protocol", protocol, "--variants", variants, "--json", "--progress", "json"]
    output = jobs.run("evaluator", arguments, f"evaluate {protocol}")
    try:
        report = json.loads(output)
    except ValueError as error:
        raise Refusal(f"the evaluator's report of {protocol} is not JSON: {output[:200]!r}") from error
    if not isinstance(report, dict):
        raise Refusal(f"the evaluator's report of {protocol} is not a JSON object")
    return report


def _has(services: Services, service: str, protocol: Protocol) -> bool:
    return any(is_for(info, protocol, Stage.TEST) for info in services.versions(service))
