"""`fusionrec explain-text A B`: which words make two texts similar, or a text and what a user likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from rich.text import Text

from shared.cli.answers import print_json
from shared.cli.console import Refusal, heading, out, table
from shared.cli.session import Session, session_options
from shared.cli.user_texts import text_profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

TIMEOUT_S = 120.0
"""Long texts and whole profiles take their time, seconds."""
_BAR = 24
"""Characters of the longest bar."""
_SHADES = ((0.66, "bold {} reverse"), (0.33, "bold {}"), (0.1, "{}"))
"""How a word is shown whose part is at least that share of the largest."""
_SHOWN_WORDS = 20
_SHOWN_TEXTS = 10


@click.command("explain-text")
@click.argument("text")
@click.argument("other", required=False)
@click.option("--user", metavar="ID", help="Compare TEXT with the text profile of a user instead of OTHER.")
@click.option("--positive-rating", envvar="RANKER_POSITIVE_RATING", default=4.0, help="A like with --user: rated this.")
@click.option("--attention", is_flag=True, help="With --json: attention maps of TEXT, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as one JSON object.")
@session_options
def explain_text(
    session: Session,
    text: str,
    other: str | None,
    *,
    user: str | None,
    positive_rating: float,
    attention: bool,
    as_json: bool,
) -> None:
    """Which words make TEXT similar to OTHER, or to what a user likes (--user). A side's words sum to the whole."""
    if (other is None) == (user is None):
        raise click.UsageError("give either a second text or --user ID")
    if attention and not as_json:
        raise click.UsageError("attention maps are printed with --json only")
    request = pb.AttributeRequest(text=text, other=other or "", attention=attention)
    with session.services() as services:
        if user is not None:
            texts = text_profile(services, user, positive_rating)
            if not texts:
                raise Refusal(f"user {user} has no text profile: nothing liked whose text is known, no review")
            request.others.extend(pb.WeightedText(text=one, weight=weight) for one, weight in texts)
        answer = services.call("embedding", "Attribute", request, timeout_s=TIMEOUT_S)
    if as_json:
        print_json(answer)
    else:
        show(answer, request, user, out())


def show(answer: pb.AttributeResponse, request: pb.AttributeRequest, user: str | None, console: Console) -> None:
    """Prints an AttributeResponse: both sides with coloured words, and the words' parts as bars."""
    heading(console, f"similarity {answer.similarity:.3f}")
    _side(console, "text", request.text, answer.words, answer.similarity, answer.residual)
    if user is None:
        _side(console, "other", request.other, answer.other_words, answer.similarity, answer.other_residual)
    else:
        _profile(console, answer, request, user)
    if answer.truncated or any(one.truncated for one in answer.others):
        console.print("cut: words past the model's limit of tokens were not read", style="yellow")
    versions = ", ".join(f"{model.kind} {model.version}" for model in answer.served_by.models)
    console.print(f"{answer.method}, {answer.evaluations} evaluations, made by {versions}", markup=False, style="dim")


def _side(
    console: Console,
    name: str,
    text: str,
    words: Sequence[pb.WordContribution],
    similarity: float,
    residual: float,
) -> None:
    console.print()
    console.print(Text(f"{name}: ", style="bold") + _coloured(text, words))
    largest = max((abs(word.contribution) for word in words), default=0.0)
    grid = table("word", "adds", "", right=("adds",))
    for word in sorted(words, key=lambda one: -abs(one.contribution))[:_SHOWN_WORDS]:
        grid.add_row(Text(word.word), f"{word.contribution:+.3f}", _bar(word.contribution, largest))
    console.print(grid)
    total = sum(word.contribution for word in words)
    more = f", {len(words) - _SHOWN_WORDS} more words not shown" if len(words) > _SHOWN_WORDS else ""
    console.print(f"sum {total:.3f} of {similarity:.3f} (residual {residual:+.4f}){more}", markup=False, style="dim")


def _profile(console: Console, answer: pb.AttributeResponse, request: pb.AttributeRequest, user: str) -> None:
    console.print()
    heading(console, f"text profile of user {user}: {len(answer.others)} texts")
    grid = table("adds", "", "weight", "similar", "text", right=("adds", "weight", "similar"))
    largest = max(abs(one.contribution) for one in answer.others)
    pairs = sorted(zip(answer.others, request.others, strict=True), key=lambda pair: -abs(pair[0].contribution))
    for one, sent in pairs[:_SHOWN_TEXTS]:
        grid.add_row(
            f"{one.contribution:+.3f}",
            _bar(one.contribution, largest),
            f"{sent.weight:.3f}",
            f"{one.similarity:.3f}",
            _coloured(sent.text, one.words),
        )
    console.print(grid)
    total = sum(one.contribution for one in answer.others)
    more = f", {len(pairs) - _SHOWN_TEXTS} more texts not shown" if len(pairs) > _SHOWN_TEXTS else ""
    console.print(f"sum {total:.3f} of {answer.similarity:.3f}{more}", style="dim")


def _coloured(text: str, words: Sequence[pb.WordContribution]) -> Text:
    """Returns the text, words green that add and red that take away, stronger the more they do."""
    shown = Text(text)
    largest = max((abs(word.contribution) for word in words), default=0.0) or 1.0
    for word in words:
        share = abs(word.contribution) / largest
        style = next((style for least, style in _SHADES if share >= least), "dim")
        shown.stylize(
            style.format("green" if word.contribution > 0 else "red"), word.start, word.start + len(word.word)
        )
    return shown


def _bar(value: float, largest: float) -> Text:
    length = round(_BAR * abs(value) / largest) if largest else 0
    return Text("█" * length, style="green" if value > 0 else "red")
