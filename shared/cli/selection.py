"""Options of `fusionrec recommend` that say how the list is put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click
from fusionrec.ranker.v1 import ranker_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

SERVERS_CHOICE = "default"
INT32 = 2**31
"""What the contract's numbers can carry; which of it makes sense is the server's to say."""
_METHODS = {"mmr": pb.DIVERSITY_METHOD_MMR, "dpp": pb.DIVERSITY_METHOD_DPP}
_EXPLORATIONS = {
    SERVERS_CHOICE: pb.EXPLORATION_METHOD_UNSPECIFIED,
    "plackett-luce": pb.EXPLORATION_METHOD_PLACKETT_LUCE,
    "thompson": pb.EXPLORATION_METHOD_THOMPSON,
}


def _pairs(separator: str, what: str) -> Callable[..., tuple[tuple[str, int], ...]]:
    """Returns a callback that reads values of a text and a whole number; the last separator separates."""

    def read(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
        return tuple(_pair(value, separator, what) for value in values)

    return read


def _pair(value: str, separator: str, what: str) -> tuple[str, int]:
    text, _, number = value.rpartition(separator)
    if not text or not number.isdecimal() or int(number) >= INT32:
        raise click.BadParameter(f"{value!r} is not {what}")
    return text, int(number)


_OPTIONS = (
    click.option("--diversity", type=float, metavar="0..1", help="How unlike each other the items shall be."),
    click.option("--method", type=click.Choice(list(_METHODS)), help="How they are made unlike each other."),
    click.option("--calibration", type=float, metavar="0..1", help="How closely the user's mix of categories is kept."),
    click.option("--long-tail", type=float, metavar="0..1", help="How much rarely chosen items are lifted."),
    click.option(
        "--cap",
        "caps",
        multiple=True,
        callback=_pairs("=", "CATEGORY=N"),
        metavar="CATEGORY=N",
        help="At most N of a category.",
    ),
    click.option(
        "--pin",
        "pins",
        multiple=True,
        callback=_pairs("@", "ITEM@PLACE"),
        metavar="ITEM@PLACE",
        help="An item at a place.",
    ),
    click.option("--block", "blocks", multiple=True, metavar="ITEM", help="An item that is not shown."),
    click.option(
        "--explore",
        type=click.Choice(list(_EXPLORATIONS)),
        is_flag=False,
        flag_value=SERVERS_CHOICE,
        help="Let chance move items; by the server's method when none is named.",
    ),
)


def selection_options(command: F) -> F:
    """Adds the options to a command; `select` takes what they say."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def select(
    request: pb.RecommendRequest,
    *,
    diversity: float | None,
    method: str | None,
    calibration: float | None,
    long_tail: float | None,
    caps: tuple[tuple[str, int], ...],
    pins: tuple[tuple[str, int], ...],
    blocks: tuple[str, ...],
    explore: str | None,
) -> None:
    """Sets what the options say in a request; what makes sense is the server's to say."""
    if diversity is not None:
        request.diversity = diversity
    own = pb.SelectionOptions(
        diversity_method=_METHODS[method] if method else pb.DIVERSITY_METHOD_UNSPECIFIED,
        calibration=calibration,
        long_tail=long_tail,
        category_caps=[pb.CategoryCap(category=category, max_items=most) for category, most in caps],
        pins=[pb.Pin(item_id=item_id, position=position) for item_id, position in pins],
        block_item_ids=blocks,
        exploration_method=_EXPLORATIONS[explore or SERVERS_CHOICE],
    )
    request.explore = explore is not None
    if own.ListFields():
        request.selection.CopyFrom(own)
