"""Packing: texts of any length side by side in the rows of one batch, so that hardly any position is padding."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapreplace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WIDTH = 64
"""Positions of a row, about. Attention looks at a whole row: wide rows cost more, and narrow ones waste their ends."""
STEP = 2
"""Widths are multiples of it, so that batches have fewer shapes."""
EVEN = 1.03
"""Texts that padding to the longest makes no larger than this are not worth packing: attention is cheapest so."""
NOBODY = -1
"""Segment of a position that no text fills."""


@dataclass(frozen=True)
class Packed:
    """A batch of texts; all arrays of shape (rows, width), int32."""

    ids: NDArray[np.int32]
    segments: NDArray[np.int32]
    """Which text a position belongs to, in the order the texts came in; NOBODY where there is none."""
    positions: NDArray[np.int32]
    """Where in its text a position is, from 0."""


def pack(texts: Sequence[Sequence[int]], pad_id: int) -> Packed:
    """Returns the texts' token ids, packed into rows of even fill, or one text to a row where that is no more."""
    lengths = [len(text) for text in texts]
    longest = max(lengths)
    places, shape = [(text, 0) for text in range(len(texts))], (len(texts), longest)
    if len(texts) * longest > EVEN * sum(lengths):
        packed_places, packed_shape = _side_by_side(lengths)
        if packed_shape[0] * packed_shape[1] < len(texts) * longest:
            places, shape = packed_places, packed_shape
    packed = Packed(np.full(shape, pad_id, np.int32), np.full(shape, NOBODY, np.int32), np.zeros(shape, np.int32))
    for text, (row, start) in enumerate(places):
        end = start + lengths[text]
        packed.ids[row, start:end] = texts[text]
        packed.segments[row, start:end] = text
        packed.positions[row, start:end] = np.arange(lengths[text])
    return packed


def _side_by_side(lengths: Sequence[int]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Returns each text's (row, first column), and the shape.

    The longest text goes first, each into the row that holds least (Graham 1969): rows end within a short text of
    each other.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    count = -(-sum(lengths) // max(lengths[order[0]], WIDTH))
    # A heap from the start: all are equally full.
    rows = [(0, row) for row in range(count)]
    places = [(0, 0)] * len(lengths)
    for text in order:
        start, row = rows[0]
        places[text] = (row, start)
        heapreplace(rows, (start + lengths[text], row))
    return places, (count, -(-max(used for used, _ in rows) // STEP) * STEP)
