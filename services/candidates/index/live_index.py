"""An index that was built once, written to ever after: the built part never changes, what came later lies beside it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from services.candidates.index.bits import count_bits, has_bit, pack, unpack, without
from services.candidates.index.delta import Delta
from services.candidates.index.products import checked, products_of
from services.candidates.sources.ranking import best_places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from services.candidates.arrays import F32, I64
    from services.candidates.index.allowed import Allowed
    from services.candidates.index.parameters import IndexParameters, IndexReport

    Bits = NDArray[np.uint8]

DEPTH = 100
"""Length of the list that a built part's effort was found for."""
DEPTH_POWER = 2 / 3
"""How the effort grows with the depth: measured at a million vectors, it keeps the recall of lists up to 1,000 and of
filters down to 2 % at .95, also of most filters that go with the clusters."""
FEW_HIDDEN = 512
"""With at most this many rows left out, a search asks for as many more and sifts them: faster than a selector."""


class MainIndex(Protocol):
    """The built part: vectors by row, searched with an effort that trades time for recall. Never changes."""

    type: str
    vectors: F32
    """float32 (rows, dim), NaN rows for none; mapped from a file or in memory."""
    first_effort: int
    max_effort: int

    @property
    def settings(self) -> Mapping[str, float]:
        """What it was built with."""

    def search(self, queries: F32, n: int, effort: int, bits: Bits | None) -> tuple[I64, F32]:
        """Returns rows, int64, and inner products, float32, (queries, n), best first; row -1 where none was found.

        `bits`: bitmap of the rows that may come; None: all.
        """

    def save(self, folder: Path) -> None:
        """Writes all but the vectors."""


@dataclass(frozen=True, eq=False)
class Built:
    """A built part, the effort of its searches, and what was measured."""

    main: MainIndex
    effort: int
    report: IndexReport


@dataclass(frozen=True, eq=False)
class _State:
    """What one search reads from beginning to end."""

    built: Built
    bits: Bits
    """The rows of the built part that still count."""
    counted: int
    """How many these are."""
    delta: Delta


class LiveIndex:
    """`VectorIndex` over a built part, with a delta for what was written since and tombstones for what went.

    A search takes no lock: it works on the state it began with. `rebuild` makes a new built part beside the old one
    and swaps; what is written meanwhile is written to both.
    """

    def __init__(
        self, built: Built, parameters: IndexParameters, build: Callable[[F32, IndexParameters, MainIndex], Built]
    ) -> None:
        self._parameters = parameters
        self._build = build
        self._writing = threading.Lock()
        self._since: list[tuple[I64, F32 | None]] | None = None
        self.rebuilds = 0
        self._state = _fresh(built)

    @property
    def built(self) -> Built:
        """The built part that searches use now."""
        return self._state.built

    @property
    def type(self) -> str:
        """Kind of the built part."""
        return self.built.main.type

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return int(self.built.main.vectors.shape[1])

    @property
    def count(self) -> int:
        """Vectors in the index."""
        return self._state.counted + len(self._state.delta)

    @property
    def pending(self) -> int:
        """Vectors written and taken out since the part was built."""
        state = self._state
        return len(state.delta) + state.built.report.vectors - state.counted

    @property
    def recall_at_100(self) -> float:
        """Share of the true best 100 that a search of the built part finds."""
        return self.built.report.recall_at_100

    @property
    def parameters(self) -> str:
        """How the built part was built and is searched, for people."""
        settings = {**self.built.report.settings, "effort": self.built.effort}
        return " ".join(f"{name}={value:g}" for name, value in settings.items())

    def count_from(self, row: int) -> int:
        """Returns the number of vectors in this row and those after it."""
        state = self._state
        return int((unpack(state.bits) >= row).sum() + (state.delta.rows >= row).sum())

    def put(self, rows: I64, vectors: F32) -> None:
        """Adds or replaces vectors; searches that begin now see them."""
        if len(rows):
            self._write(rows, np.asarray(vectors, np.float32))

    def remove(self, rows: I64) -> None:
        """Takes vectors out."""
        if len(rows):
            self._write(rows, None)

    def search(self, query: F32, n: int, allowed: Allowed) -> tuple[I64, F32]:
        """Returns rows and inner products of the `n` best allowed vectors, best first.

        Raises:
            ValueError: an inner product is not finite, so that there is no order.

        """
        if not np.isfinite(query).all():
            raise ValueError("the query is not finite: it has no inner products, and there is no order")
        state = self._state
        query = np.ascontiguousarray(query, np.float32)
        rows, scores = _search_built(state, query, n, allowed, self._parameters)
        later, later_scores = state.delta.search(query, n, allowed)
        rows, scores = np.concatenate([rows, later]), np.concatenate([scores, later_scores])
        places = best_places(rows, scores, n)
        return rows[places], scores[places]

    def vectors(self, rows: I64) -> F32:
        """Returns the vectors of these rows, (len(rows), dim); NaN where there is none."""
        state = self._state
        found = np.full((len(rows), self.dim), np.nan, np.float32)
        here = has_bit(state.bits, rows)
        found[here] = state.built.main.vectors[rows[here]]
        state.delta.fill(rows, found)
        return found

    def needs_rebuild(self) -> bool:
        """Returns whether so much was written that searching it one by one costs more than a rebuild saves."""
        limit = max(self._parameters.rebuild_rows, self._parameters.rebuild_share * self.built.report.vectors)
        return self.pending > limit

    def rebuild(self) -> None:
        """Builds anew with all that was written. Takes minutes at a million vectors: call it in a thread of its own."""
        with self._writing:
            if self._since is not None:
                return
            self._since = []
            state = self._state
        try:
            built = self._build(_everything(state), self._parameters, state.built.main)
            fresh = _fresh(built)
        except BaseException:
            with self._writing:
                self._since = None
            raise
        with self._writing:
            for rows, vectors in self._since or ():
                fresh = _written(fresh, rows, vectors)
            self._since = None
            self._state = fresh
            self.rebuilds += 1

    def _write(self, rows: I64, vectors: F32 | None) -> None:
        with self._writing:
            if self._since is not None:
                self._since.append((rows, vectors))
            self._state = _written(self._state, rows, vectors)


def _fresh(built: Built) -> _State:
    rows = np.flatnonzero(~np.isnan(built.main.vectors[:, 0]))
    bits = pack(rows, len(built.main.vectors))
    return _State(built, bits, len(rows), Delta.empty(int(built.main.vectors.shape[1])))


def _written(state: _State, rows: I64, vectors: F32 | None) -> _State:
    bits = without(state.bits, rows)
    delta = state.delta.remove(rows) if vectors is None else state.delta.put(rows, vectors)
    return replace(state, bits=bits, counted=count_bits(bits), delta=delta)


def _everything(state: _State) -> F32:
    """Returns all vectors by row, NaN rows for none: what a rebuild builds on."""
    main = state.built.main.vectors
    size = max(len(main), int(state.delta.rows.max(initial=-1)) + 1)
    every = np.full((size, main.shape[1]), np.nan, np.float32)
    kept = unpack(state.bits)
    every[kept] = main[kept]
    state.delta.fill(np.arange(size), every)
    return every


def _search_built(state: _State, query: F32, n: int, allowed: Allowed, parameters: IndexParameters) -> tuple[I64, F32]:
    main, effort = state.built.main, state.built.effort
    shared = min(len(state.bits), len(allowed.bits))
    bits = state.bits[:shared] & allowed.bits[:shared]
    count = count_bits(bits)
    wanted = min(n, count)
    if count <= parameters.exact_rows or wanted * 4 > count:
        rows = unpack(bits)
        # `take` gathers rows in a third of the time of an index.
        scores = products_of(np.take(main.vectors, rows, axis=0), query)
        places = best_places(rows, scores, n)
        return rows[places], scores[places]
    hidden = state.built.report.vectors - count
    # The best n of the allowed are spread over as many times more of all as there are more of them.
    depth = n if hidden <= FEW_HIDDEN else n * state.built.report.vectors / count
    effort = min(int(effort * max(1.0, depth / DEPTH) ** DEPTH_POWER), main.max_effort)
    while True:
        if hidden <= FEW_HIDDEN:
            rows, scores = _sifted(main.search(query[None], n + hidden, effort, None), bits)
        else:
            rows, scores = _sifted(main.search(query[None], n, effort, bits), bits)
        if len(rows) >= wanted or effort >= main.max_effort:
            return rows[:n], scores[:n]
        # Too few in what was looked at: the allowed ones lie elsewhere.
        effort = min(effort * 4, main.max_effort)


def _sifted(found: tuple[I64, F32], bits: Bits) -> tuple[I64, F32]:
    rows, scores = found[0][0], found[1][0]
    kept = (rows >= 0) & has_bit(bits, np.maximum(rows, 0))
    return rows[kept], checked(scores[kept])
