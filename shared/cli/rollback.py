"""`fusionrec rollback SERVICE`: the version before, in one command, taken up by the running server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from shared.cli.console import Refusal, say, spinner
from shared.cli.jobs import Jobs
from shared.cli.session import Session, session_options
from shared.cli.train import POLL_S, TAKE_UP_S, jobs_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.cli.calls import Services

WITH_MODELS = ("embedding", "candidates", "ranker")


@click.command()
@click.argument("service", type=click.Choice(WITH_MODELS))
@click.option("--to", "version", default="", metavar="VERSION", help="Which one.  [default: the one before]")
@jobs_option
@session_options
def rollback(session: Session, service: str, *, version: str, where: str) -> None:
    """Go back to the version of SERVICE's models that users got before, or to VERSION (also forward again).

    Nothing restarts and no call fails: the running server swaps to it as to a new one. Waits until it has.
    """
    with session.services() as services:
        said = Jobs(session, where).run(service, ["rollback", *([version] if version else [])], f"roll back {service}")
        now, before = said.split()[0], said.split()[1].removeprefix("before=")
        if not services.live(service):
            say(f"{service} goes from {before} back to {now} when it starts: it does not run")
            return
        with spinner(f"{service} takes up {now}"):
            _await(services, service, now)
        say(f"{service} has {now} (before: {before}; back again: fusionrec rollback {service} --to {before})")
        if service != "embedding":
            _say_what_fits(services)


def _await(services: Services, service: str, version: str) -> None:
    until = time.monotonic() + TAKE_UP_S
    while time.monotonic() < until:
        if services.current_version(service) == version:
            return
        time.sleep(POLL_S)
    why = services.reason(service) or "it gives no reason; its log may"
    raise Refusal(f"{service} did not take up {version} within {TAKE_UP_S:.0f} s: {why}")


def _say_what_fits(services: Services) -> None:
    """Says when the ranker was trained on other candidates than are current: they work together, less well."""
    candidates, ranker = services.current_version("candidates"), services.current_version("ranker")
    lineage: Mapping[str, str] = next((one.lineage for one in services.versions("ranker") if one.version == ranker), {})
    wanted = lineage.get("candidates", candidates)
    if wanted != candidates:
        say(
            f"ranker {ranker} was trained on candidates {wanted}; {candidates} is current. They work together, but it "
            f"knows the other one's scores: fusionrec rollback candidates --to {wanted}, or train anew"
        )
