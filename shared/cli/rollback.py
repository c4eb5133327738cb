"""`fusionrec rollback SERVICE`: the version before, in one command, taken up by the running server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from shared.cli.console import Refusal, say, spinner
from shared.cli.jobs import Jobs
from shared.cli.session import Session, session_options
from shared.cli.train import POLL_S, TAKE_UP_S, jobs_option
from shared.data.splits import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusionrec.common.v1.serving_pb2 import VersionInfo

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
            _say_what_fits(services, service)


def _await(services: Services, service: str, version: str) -> None:
    until = time.monotonic() + TAKE_UP_S
    while time.monotonic() < until:
        if services.current_version(service) == version:
            return
        time.sleep(POLL_S)
    why = services.reason(service) or "it gives no reason; its log may"
    raise Refusal(f"{service} did not take up {version} within {TAKE_UP_S:.0f} s: {why}")


def _say_what_fits(services: Services, service: str) -> None:
    """Says when ranker and candidates do not go together. The rollback is done: what is not to be had fails nothing."""
    current: dict[str, str] = {}
    known: dict[str, Sequence[VersionInfo]] = {}
    for name in ("candidates", "ranker"):
        try:
            current[name] = services.current_version(name) if services.live(name) else ""
            known[name] = services.versions(name) if current[name] else []
        except Refusal:
            current[name] = ""
        if not current[name]:
            why = "does not run, or names no version"
            say(f"whether ranker and candidates go together was not checked: {name} {why}")
            return
    message = what_fits(service, current["candidates"], current["ranker"], known["candidates"], known["ranker"])
    if message:
        say(message)


def what_fits(
    service: str, candidates: str, ranker: str, all_candidates: Sequence[VersionInfo], rankers: Sequence[VersionInfo]
) -> str:
    """Returns what to do when the ranker was trained on other candidates than are current; empty when on these.

    They work together all the same, less well. The advice never undoes what was just done.

    Args:
        service: what was rolled back, "candidates" or "ranker".
        candidates: the version of candidates that is current.
        ranker: the version of the ranker that is current.
        all_candidates: the versions that candidates has.
        rankers: the versions that the ranker has, newest first.

    """
    wanted = next((one.lineage.get("candidates", "") for one in rankers if one.version == ranker), "")
    if not wanted:
        return f"whether ranker {ranker} goes with candidates {candidates} is not known: it does not say its candidates"
    if wanted == candidates:
        return ""
    if service == "candidates":
        other, found = "ranker", _trained_on(candidates, rankers)
        none = f"the ranker has no version that was trained on {candidates}"
    else:
        other, found = "candidates", next((wanted for one in all_candidates if one.version == wanted), "")
        none = f"candidates has no version {wanted} any more"
    advice = (
        f"roll back both: fusionrec rollback {other} --to {found}"
        if found
        else f"{none}; fusionrec train makes both anew (the ranker's training alone takes the candidates of the newest "
        "data, current or not)"
    )
    return (
        f"ranker {ranker} was trained on candidates {wanted}; {candidates} is current. They work together, but it "
        f"knows the other one's scores. {advice[0].upper()}{advice[1:]}"
    )


def _trained_on(candidates: str, rankers: Sequence[VersionInfo]) -> str:
    """Returns the newest ranker for users that was trained on a version of candidates; empty without one."""
    for one in rankers:
        if one.labels.get("stage", Stage.SERVING) == Stage.SERVING and one.lineage.get("candidates") == candidates:
            return str(one.version)
    return ""
