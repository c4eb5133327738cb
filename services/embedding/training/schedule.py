"""How the learning rate goes: up for a while, then down along a cosine."""

from __future__ import annotations

import math


def rate_at(step: int, steps: int, largest: float, warm_up: float) -> float:
    """Returns the learning rate of a step, counted from 0: linear warm-up, cosine decay to zero.

    (Loshchilov and Hutter 2017, "SGDR", without restarts; warm-up as Goyal et al. 2017.)

    Args:
        step: 0 to steps - 1.
        steps: of the whole training.
        largest: rate at the end of the warm-up.
        warm_up: share of the steps, 0 to below 1.

    """
    rising = round(warm_up * steps)
    if step < rising:
        return largest * (step + 1) / rising
    done = (step - rising) / max(steps - rising, 1)
    return largest * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
