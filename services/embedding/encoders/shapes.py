"""Which compiled shape a batch runs in, if any."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

XLA_GAIN = 1.25
"""How much faster XLA computes a token than the plain graph does (measured 1.2 to 1.4 on AVX2 cores): padding
beyond this factor costs more than compiling gained."""


def choose_shape(rows: int, tokens: int, compiled: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    """Returns the smallest compiled shape (rows, tokens) that holds a batch at a padding cost below `XLA_GAIN`.

    None means that the batch is cheaper in its own shape on the plain graph.
    """
    fitting = [shape for shape in compiled if shape[0] >= rows and shape[1] >= tokens]
    if not fitting:
        return None
    best = min(fitting, key=lambda shape: shape[0] * shape[1])
    return best if best[0] * best[1] <= XLA_GAIN * rows * tokens else None
