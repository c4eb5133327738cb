"""`fusionrec recommend USER`: what a user gets, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from fusionrec.common.v1.serving_pb2 import UserTemperature
from fusionrec.ranker.v1 import ranker_service_pb2 as pb
from rich.markup import escape

from shared.cli.answers import print_json
from shared.cli.console import heading, out, table
from shared.cli.result_words import result_words
from shared.cli.selection import INT32, select, selection_options
from shared.cli.session import Session, session_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from shared.cli.result_words import Words

_SHOWN_FEATURES = 4
RULES = "rules"
_SHOWN_REASONS = 3
_SHOWN_REST = 0.005
"""Share of the history that is told of as the rest of it."""
_GROUPS = {"cf": "CF"}


@click.command()
@click.argument("user")
@click.option(
    "-k",
    "k",
    type=click.IntRange(-INT32, INT32 - 1),
    default=10,
    show_default=True,
    metavar="INTEGER",
    help="How many items.",
)
@click.option("--explain", is_flag=True, help="Say why: a sentence, the history that speaks for it, the features.")
@click.option("--words", is_flag=True, help="With --explain: which words of each item speak to what USER likes; slow.")
@click.option(
    "--positive-rating", envvar="RANKER_POSITIVE_RATING", default=4.0, help="A like with --words: rated this."
)
@selection_options
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as one JSON object.")
@session_options
def recommend(
    session: Session,
    user: str,
    *,
    k: int,
    explain: bool,
    words: bool,
    positive_rating: float,
    as_json: bool,
    **chosen: Any,
) -> None:
    """The best items for USER. An unknown user gets an answer, too. Nothing is recorded as shown."""
    if words and (as_json or not explain):
        raise click.UsageError("--words is shown with --explain, and not with --json")
    request = pb.RecommendRequest(
        context=pb.RankingContext(user_id=user), k=k, explain=explain, include_titles=True, skip_impressions=True
    )
    select(request, **chosen)
    with session.services() as services:
        answer = services.call("ranker", "Recommend", request)
        item_ids = [one.item_id for one in answer.results] if words else []
        speaking = result_words(services, user, positive_rating, item_ids)
    if as_json:
        print_json(answer)
    else:
        show(answer, f"user {user}", out(), speaking)


def show(answer: Any, title: str, console: Console, words: Mapping[str, Words] | None = None) -> None:
    """Prints a RecommendResponse as a table, with its reasons when it carries them, and the `words` of items."""
    temperature = UserTemperature.Name(answer.temperature).removeprefix("USER_TEMPERATURE_").lower()
    versions = ", ".join(f"{model.kind} {model.version}" for model in answer.served_by.models)
    explored = any(one.propensity < 1 for one in answer.results)
    grid = table(
        "#",
        "item",
        "title",
        "score",
        "CF",
        "text",
        *(["chance"] if explored else []),
        "sources (rank)",
        right=("#", "score", "CF", "text", "chance"),
    )
    for one in answer.results:
        grid.add_row(
            str(one.position),
            escape(one.item_id),
            escape(one.title) + (" [green]new[/]" if one.is_new else ""),
            f"{one.score:.3f}",
            f"{one.cf_contribution:+.3f}",
            f"{one.text_contribution:+.3f}",
            *([f"{one.propensity:.3f}"] if explored else []),
            escape(_sources(one)),
        )
    heading(console, f"{title} ({temperature}), {answer.candidates_scored} candidates scored")
    console.print(grid)
    if not answer.results:
        console.print(f"no result: {answer.empty_reason or 'the server gave no reason'}", markup=False)
    for one in answer.unmet:
        console.print(f"not given: {one}", markup=False, style="yellow")
    for lost in answer.degraded:
        instead = f"; instead: {lost.fallback}" if lost.fallback else ""
        console.print(f"degraded: without {lost.component} ({lost.reason}){instead}", markup=False, style="yellow")
    for one in answer.results:
        if one.HasField("explanation"):
            _show_reasons(one, console, (words or {}).get(one.item_id, []))
    if versions:
        console.print(f"made by {versions}", markup=False, style="dim")


def _sources(one: Any) -> str:
    proposed = sorted((source for source in one.sources if source.rank), key=lambda source: source.rank)
    return ", ".join(f"{source.source} ({source.rank})" for source in proposed)


def _show_reasons(one: Any, console: Console, words: Words) -> None:
    why = one.explanation
    console.print(f"{one.position}. {one.title or one.item_id}: {why.sentence}", markup=False)
    for reason in why.history[:_SHOWN_REASONS]:
        console.print(
            f"     {reason.weight:4.0%} by {reason.kind}: {reason.title or reason.item_id}", markup=False, style="dim"
        )
    rest = 1 - sum(reason.weight for reason in why.history[:_SHOWN_REASONS])
    if why.history and rest >= _SHOWN_REST:
        console.print(f"     {rest:4.0%} by the rest of the history", markup=False, style="dim")
    if words:
        told = ", ".join(f"{word} {added:+.3f}" for word, added in words)
        console.print(f"     words close to what the user likes: {told}", markup=False, style="dim")
    if why.features:
        ordered = sorted(why.groups, key=lambda part: -abs(part.contribution))
        groups = "".join(f" {part.contribution:+.3f} {_GROUPS.get(part.group, part.group)}" for part in ordered)
        console.print(f"     score {one.score:.3f} = {why.bias:.3f} base{groups}", markup=False, style="dim")
        # Of the features the largest, and what the rules did in any case.
        large, small = why.features[:_SHOWN_FEATURES], why.features[_SHOWN_FEATURES:]
        shown = [*large, *(feature for feature in small if feature.group == RULES)]
        parts = ", ".join(f"{feature.feature} {feature.contribution:+.3f}" for feature in shown)
        console.print(f"     most of it: {parts}", markup=False, style="dim")
