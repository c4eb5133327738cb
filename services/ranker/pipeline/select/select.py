"""Which of the scored candidates are shown, and where: diversity, exploration, places for new items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.ranker.items.arrays import F32, Mask

STAGE = "select"


@dataclass(frozen=True)
class Selection:
    """Places of the shown candidates, best first, and the probability of each to stand where it stands."""

    places: list[int]
    propensities: list[float]

    @classmethod
    def certain(cls, places: list[int]) -> Selection:
        """Returns a selection without chance."""
        return cls(places, [1.0] * len(places))


def by_score(scores: F32, k: int) -> Selection:
    """Returns the k best, in the order they came in where scores are equal."""
    return Selection.certain([int(place) for place in np.argsort(-scores, kind="stable")[:k]])


def diverse(scores: F32, vectors: F32, k: int, strength: float) -> Selection:
    """Returns k by maximal marginal relevance (Carbonell and Goldstein, 1998).

    Each next item has the largest (1 - strength) * relevance - strength * similarity to the nearest chosen one.
    Relevance is the score, scaled to 0..1; `vectors` are float32 (n, dim) of length 1, zeros where unknown.
    """
    spread = float(scores.max() - scores.min()) if len(scores) else 0.0
    relevance = (scores - scores.min()) / spread if spread else np.zeros_like(scores)
    nearest = np.full(len(scores), 0.0, dtype=np.float32)
    left = np.ones(len(scores), dtype=np.bool_)
    chosen: list[int] = []
    for _ in range(min(k, len(scores))):
        value = np.where(left, (1 - strength) * relevance - strength * nearest, -np.inf)
        best = int(np.argmax(value))
        chosen.append(best)
        left[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return Selection.certain(chosen)


def explored(scores: F32, k: int, temperature: float, random: np.random.Generator) -> Selection:
    """Returns k drawn one after the other in proportion to exp(score / temperature): Plackett-Luce.

    Scores are standardised first. The propensity of an item is its probability to be drawn at its place,
    given the items drawn before it. Drawn with Gumbel noise, which gives the same distribution as drawing in turn.
    """
    spread = float(scores.std()) if len(scores) else 0.0
    logits = (scores - scores.mean()) / (spread * temperature) if spread else np.zeros_like(scores)
    order = np.argsort(-(logits + random.gumbel(size=len(scores))), kind="stable")
    drawn = logits[order].astype(np.float64)
    # Log of the sum of exp over the item and all that come after it, for every place.
    rest = np.logaddexp.accumulate(drawn[::-1])[::-1] if len(drawn) else drawn
    count = min(k, len(order))
    return Selection([int(place) for place in order[:count]], [float(p) for p in np.exp(drawn - rest)[:count]])


def with_new_items(selection: Selection, fitting: list[int], slots: int, every: int) -> Selection:
    """Returns the selection with the `fitting` new candidates, best first, in the last place of every `every`.

    New items that are shown already count; at most `slots` are moved in. The shown items make room in order.
    """
    shown = selection.places
    wanted = set(fitting)
    waiting = [place for place in fitting if place not in set(shown)]
    count = len(shown)
    missing = max(min(slots - sum(place in wanted for place in shown), len(waiting), count), 0)
    leaving = set([place for place in reversed(shown) if place not in wanted][:missing])
    kept = [place for place in shown if place not in leaving]
    for turn in range(len(leaving)):
        kept.insert(min((turn + 1) * every, count) - 1, waiting[turn])
    return Selection.certain(kept)


def fits(is_new: Mask, text_ranks: NDArray[np.int32] | None, top: int) -> list[int]:
    """Returns the places of new candidates among the `top` of the text source's list, best first."""
    if text_ranks is None:
        return []
    places = np.flatnonzero(is_new & (text_ranks > 0) & (text_ranks <= top))
    return [int(place) for place in places[np.argsort(text_ranks[places], kind="stable")]]


def new_item_slots(asked: int | None, k: int, every: int) -> int:
    """Returns how many places are kept for new items: what was asked, else one of every `every`, begun ones too."""
    return min(k, -(-k // every)) if asked is None else min(asked, k)
