"""Exploration: chance moves items, and says how likely each was.

The propensity of an item is its probability to be drawn at its place, given the items drawn before it and the caps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.ranker.pipeline.select.selection import Selection

if TYPE_CHECKING:
    from services.ranker.items.arrays import F32
    from services.ranker.pipeline.select.caps import Caps

MAX_DRAWS = 500
MIN_DRAWS = 100
FLOOR = 0.02
"""Share of Thompson's places that are drawn evenly from all that may be shown: no propensity is 0."""
DRAWN_NUMBERS = 200_000
"""Random numbers of one list by Thompson sampling at most, beyond `MIN_DRAWS` for each candidate."""


def standardised(scores: F32, free: int | None = None) -> F32:
    """Returns scores with mean 0 and standard deviation 1 of the first `free`, the rest is pinned; zeros if equal."""
    own = scores[:free]
    spread = float(own.std()) if len(own) else 0.0
    return (scores - own.mean()) / np.float32(spread) if spread else np.zeros_like(scores)


def plackett_luce(values: F32, k: int, temperature: float, caps: Caps, random: np.random.Generator) -> Selection:
    """Returns k drawn one after the other in proportion to exp(value / temperature); values are standardised scores.

    Drawn with Gumbel noise, which gives the same distribution as drawing in turn: also among those that the caps leave,
    since the order among them does not depend on the others.
    """
    logits = values.astype(np.float64) / temperature
    order = np.argsort(-(logits + random.gumbel(size=len(logits))), kind="stable")
    left = np.ones(len(logits), dtype=np.bool_)
    chosen: list[int] = []
    propensities: list[float] = []
    for place in map(int, order):
        if len(chosen) >= k:
            break
        may = left & caps.open
        if not may[place]:
            continue
        rest = np.logaddexp.reduce(logits[may])
        propensities.append(float(np.exp(min(logits[place] - rest, 0.0))))
        chosen.append(place)
        left[place] = False
        caps.take(place)
    return Selection(chosen, propensities)


def draws_of(candidates: int) -> int:
    """Returns how many samples stand for the posterior: 100 to 500."""
    return int(np.clip(DRAWN_NUMBERS // max(candidates, 1), MIN_DRAWS, MAX_DRAWS))


def thompson(values: F32, k: int, caps: Caps, random: np.random.Generator, *, floor: float = FLOOR) -> Selection:
    """Returns k by Thompson sampling; `values`, float32 (draws, n), are samples of what each candidate is worth.

    At each place one sample is drawn and its best item taken; with probability `floor` any of those that may be shown
    instead, each alike. So an item that is best in a share s of the samples is taken with probability
    (1 - floor) s + floor / open, its propensity: exact for this list, and above 0 for all, without which weights by
    1 / propensity would leave out the items that are best in no sample. As an estimate of the posterior's own
    probability the share has standard error sqrt(s (1 - s) / draws).
    """
    draws = len(values)
    values = values.copy()
    left = np.ones(values.shape[1], dtype=np.bool_)
    chosen: list[int] = []
    propensities: list[float] = []
    while len(chosen) < k:
        may = left & caps.open
        if not may.any():
            break
        values[:, ~may] = -np.inf
        best = np.argmax(values, axis=1)
        evenly = random.random() < floor
        place = int(random.choice(np.flatnonzero(may)) if evenly else best[random.integers(draws)])
        propensities.append(float((1 - floor) * (best == place).mean() + floor / may.sum()))
        chosen.append(place)
        left[place] = False
        caps.take(place)
    return Selection(chosen, propensities)
