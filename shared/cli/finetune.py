"""`fusionrec finetune`: a language model that knows behaviour, taken up by the whole path."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
from fusionrec.embedding.v1 import embedding_service_pb2 as embedding_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb

from shared.cli.console import Refusal, say, spinner
from shared.cli.jobs import EXIT_NO_DATA, Jobs
from shared.cli.readiness import await_ready
from shared.cli.session import Session, session_options
from shared.cli.train import jobs_option, train_protocol
from shared.data.splits import Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.cli.calls import Services

SWAP_S = 300.0
"""Time that the running embedding service gets to load and warm the new version, seconds."""
POLL_S = 0.5


@click.command()
@click.option(
    "--method",
    type=click.Choice(["full", "lora", "head"]),
    default="head",
    show_default=True,
    help="How much learns: every weight, low-rank additions, or a linear map on top.",
)
@click.option(
    "--encoder",
    type=click.Choice(["bert", "bow", "tfidf", "word2vec"]),
    default="bert",
    show_default=True,
    help="bert fine-tunes EMBEDDING_MODEL; the others are fitted on the catalogue's texts.",
)
@click.option("--domain-pretrain", is_flag=True, help="Guess hidden words of the catalogue's texts first.")
@click.option("--epochs", type=float, help="Passes over the liked items at most.  [default: the method's own]")
@click.option("--batch", type=int, help="Items of a step.")
@click.option("--learning-rate", type=float, help="Largest learning rate.  [default: the method's own]")
@click.option("--rank", type=int, help="Of LoRA.")
@click.option("--temperature", type=float, help="Of the contrastive loss.")
@click.option("--max-minutes", type=float, help="End after this time with the best there is.")
@click.option("--seed", type=int, help="Of everything random.")
@click.option("--tensorboard", help="Folder of the curves.  [default: in the data directory]")
@click.option("--always", is_flag=True, help="Publish what is not better than the base, too.")
@jobs_option
@session_options
def finetune(session: Session, *, where: str, **options: object) -> None:
    """Fine-tune the language model on what people liked, then train candidates and ranker on its vectors.

    Waits until the running servers use the new versions. Interrupted before the language model is published, the same
    command goes on from the last checkpoint; after that, `fusionrec train` does the rest.
    """
    with session.services() as services:
        _refuse_without_events(services)
        # The job reads ingestion alone; the running server must be up to swap.
        await_ready(services, ("ingestion", "embedding"))
        before = served_version(services)
        arguments = ["train", "--protocol", Protocol.WARM.value, "--progress", "json", *as_arguments(options)]
        jobs = Jobs(session, where)
        published = jobs.run("embedding", arguments, "finetune").split()[0]
        with spinner("embedding takes up the new version"):
            served = _await_swap(services, published)
        say(f"embedding has {served} (before: {before}); if this is interrupted now, `fusionrec train` does the rest")
        train_protocol(services, jobs, Protocol.WARM)


def as_arguments(options: Mapping[str, object]) -> list[str]:
    """Returns the job's arguments: options that were given, by the same names."""
    made: list[str] = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            made.append(option)
        elif value is not None and value is not False:
            made += [option, str(value)]
    return made


def served_version(services: Services) -> str:
    """Returns the version of the language model that is served now."""
    return str(_info(services).version)


def is_taken_up(info: embedding_pb.GetModelInfoResponse, version: str) -> bool:
    """Returns whether a version is served, or one that was published after it."""
    # Newest first.
    names = [one.version for one in info.versions]
    if version not in names or info.version not in names:
        return bool(info.version == version)
    return names.index(info.version) <= names.index(version)


def _info(services: Services) -> embedding_pb.GetModelInfoResponse:
    info: embedding_pb.GetModelInfoResponse = services.call(
        "embedding", "GetModelInfo", embedding_pb.GetModelInfoRequest()
    )
    return info


def _refuse_without_events(services: Services) -> None:
    if not services.call("ingestion", "GetStats", pb.GetStatsRequest()).events:
        raise Refusal(
            "there are no events to learn from: bring some in with `fusionrec import items FILE` and "
            "`fusionrec import events FILE`, then fine-tune again",
            EXIT_NO_DATA,
        )


def _await_swap(services: Services, version: str) -> str:
    """Waits until a version is served, or a newer one that somebody published meanwhile; returns which."""
    until = time.monotonic() + SWAP_S
    while time.monotonic() < until:
        info = _info(services)
        if is_taken_up(info, version):
            return str(info.version)
        time.sleep(POLL_S)
    why = services.reason("embedding") or "it gives no reason; its log may, and EMBEDDING_ARTIFACTS must be the job's"
    raise Refusal(f"embedding did not take up {version} within {SWAP_S:.0f} s: {why}")
