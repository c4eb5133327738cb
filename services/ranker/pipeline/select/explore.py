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
DRAWN_NUMBERS = 200_000
"""Random numbers of one list by Thompson sampling at most, beyond `MIN_DRAWS` for each candidate."""


def standardised(scores: F32) -> F32:
    """Returns scores with mean 0 and standard deviation 1; zeros where all are equal."""
    spread = float(scores.std()) if len(scores) else 0.0
    return (scores - scores.mean()) / np.float32(spread) if spread else np.zeros_like(scores)


def plackett_luce(scores: F32, k: int, temperature: float, caps: Caps, random: np.random.Generator) -> Selection:
    """Returns k drawn one after the other in proportion to exp(standardised score / temperature).

    Drawn with Gumbel noise, which gives the same distribution as drawing in turn: also among those that the caps leave,
    since the order among them does not depend on the others.
    """
    logits = standardised(scores).astype(np.float64) / temperature
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


def thompson(values: F32, k: int, caps: Caps, random: np.random.Generator) -> Selection:
    """Returns k by Thompson sampling; `values`, float32 (draws, n), are samples of what each candidate is worth.

    At each place one sample is drawn and its best item taken: the item that is best in a share p of the samples is
    taken with probability p, which is its propensity. For this list the propensity is exact, and never below
    1 / draws; as an estimate of the posterior's own probability its standard error is sqrt(p (1 - p) / draws).
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
        place = int(best[random.integers(draws)])
        propensities.append(float((best == place).mean()))
        chosen.append(place)
        left[place] = False
        caps.take(place)
    return Selection(chosen, propensities)
