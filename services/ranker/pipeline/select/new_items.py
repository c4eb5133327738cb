"""Places kept for items that arrived after the training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from services.ranker.items.arrays import Mask


def with_new_items(
    shown: Sequence[int],
    fitting: Sequence[int],
    slots: int,
    every: int,
    holds: Callable[[list[int]], bool] = lambda _places: True,
) -> list[int]:
    """Returns the places with the `fitting` new candidates, best first, in the last place of every `every`.

    New items that are shown already count; at most `slots` are moved in. The shown items make room, the last first.
    A new item with which the list would not be one that `holds` is passed over.
    """
    wanted = set(fitting)
    held = set(shown)
    waiting = [place for place in fitting if place not in held]
    count = len(shown)
    missing = max(min(slots - sum(place in wanted for place in shown), len(waiting), count), 0)
    leaving = [place for place in reversed(shown) if place not in wanted]
    kept = list(shown)
    coming: list[int] = []
    for place in waiting:
        if len(coming) >= missing or not leaving:
            break
        rest = [one for one in kept if one != leaving[0]]
        if holds([*rest, *coming, place]):
            kept = rest
            leaving.pop(0)
            coming.append(place)
    for turn, place in enumerate(coming):
        kept.insert(min((turn + 1) * every, count) - 1, place)
    return kept


def fits(is_new: Mask, text_ranks: NDArray[np.int32] | None, top: int) -> list[int]:
    """Returns the places of new candidates among the `top` of the text source's list, best first."""
    if text_ranks is None:
        return []
    places = np.flatnonzero(is_new & (text_ranks > 0) & (text_ranks <= top))
    return [int(place) for place in places[np.argsort(text_ranks[places], kind="stable")]]


def new_item_slots(asked: int | None, share: float | None, k: int, every: int) -> int:
    """Returns how many places are kept: what was asked, else a share, else one of every `every`; begun ones too."""
    if asked is not None:
        return min(asked, k)
    if share is not None:
        return min(k, math.ceil(round(share * k, 6)))
    return min(k, -(-k // every))
