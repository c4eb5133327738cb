"""Lists to learn from: what is kept of one, and many as arrays."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.registry import INDEX, NAMES
from services.ranker.fusion.base import LIKE, ListVectors, RankingInput, RankingLists
from services.ranker.items.arrays import take_rows
from services.ranker.training.negatives import UNIFORM, drawn_rows
from shared.data.folds import ListKind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from services.ranker.items.arrays import F32, Rows
    from services.ranker.items.table import ItemTable
    from services.ranker.training.negatives import Negatives


def _no_rows() -> Rows:
    return np.zeros(0, dtype=np.intp)


def _no_positions() -> NDArray[np.int64]:
    return np.zeros(0, dtype=np.int64)


def _no_weights() -> F32:
    return np.zeros(0, dtype=np.float32)


@dataclass(frozen=True)
class LearnedList:
    """One list to learn from: features float32 (n, features), labels float32 (n,), both liked and not.

    Vectors are named by their rows in the table, so that a list is small: `items`, intp (n,), -1 for none, and
    `history`, intp (m,), with `weights`, float32 (m,). `outcomes` as in `RankingLists`. `held`: to be measured on, not
    learned from. `weight`: what the list counts among others.

    Of a list that was shown: `positions`, int64 (n,), from 1, and whether chance had a hand in its order, `explored`.
    """

    kind: ListKind
    user_id: str
    features: F32
    labels: F32
    items: Rows = field(default_factory=_no_rows)
    history: Rows = field(default_factory=_no_rows)
    weights: F32 = field(default_factory=_no_weights)
    outcomes: Mapping[str, F32] = field(default_factory=dict)
    held: bool = False
    weight: float = 1.0
    positions: NDArray[np.int64] = field(default_factory=_no_positions)
    explored: bool = False

    def take(self, rows: NDArray[np.intp]) -> LearnedList:
        """Returns the list with these rows alone."""
        return replace(
            self,
            features=self.features[rows],
            labels=self.labels[rows],
            items=self.items[rows] if len(self.items) else self.items,
            outcomes={head: values[rows] for head, values in self.outcomes.items()},
            positions=self.positions[rows] if len(self.positions) else self.positions,
        )

    def input(self, table: ItemTable | None) -> RankingInput:
        """Returns the list as it would be asked for, with vectors of `table`."""
        if table is None or not len(self.items):
            return RankingInput.plain(self.features)
        items, _ = table.centred(self.items)
        history, _ = table.centred(self.history)
        return RankingInput(self.features, items, history, self.weights)


def thinned(one: LearnedList, negatives: Negatives = UNIFORM) -> LearnedList:
    """Returns the list with some of the rows that were not relevant; the others are left out of fitting alone.

    The same list is thinned the same way in every run: chance begins with its user and its length.
    """
    random = np.random.default_rng(zlib.crc32(f"{one.user_id} {one.kind} {len(one.history)}".encode()))
    merged, popularity = one.features[:, INDEX["merged_places"]], one.features[:, INDEX["popularity"]]
    return one.take(drawn_rows(one.labels, merged, popularity, negatives, random))


def stacked(lists: Sequence[LearnedList], table: ItemTable | None = None) -> RankingLists:
    """Returns the lists as arrays; of the table's vectors, those that they name."""
    empty = np.zeros((0, len(NAMES)), dtype=np.float32)
    rows = sum(len(one.labels) for one in lists)
    heads = sorted({head for one in lists for head in _heads(one)})
    return RankingLists(
        features=np.concatenate([empty, *(one.features for one in lists)]),
        labels=np.concatenate([empty[:, 0], *(one.labels for one in lists)]),
        sizes=np.array([len(one.labels) for one in lists], dtype=np.int64),
        weights=np.array([one.weight for one in lists], dtype=np.float32),
        vectors=ListVectors.none(rows, len(lists)) if table is None else _vectors(lists, table),
        outcomes={head: np.concatenate([_outcome(one, head) for one in lists]) for head in heads},
    )


def _heads(one: LearnedList) -> Collection[str]:
    return (LIKE,) if one.kind is ListKind.SHOWN else one.outcomes


def _outcome(one: LearnedList, head: str) -> F32:
    # What a row got because of its place is learned from by lists, with their weights, and not row by row.
    if one.kind is ListKind.SHOWN:
        return np.full(len(one.labels), np.nan, dtype=np.float32)
    found = one.labels if head == LIKE else one.outcomes.get(head)
    return np.full(len(one.labels), np.nan, dtype=np.float32) if found is None else found


def _vectors(lists: Sequence[LearnedList], table: ItemTable) -> ListVectors:
    items = [one.items if len(one.items) else np.full(len(one.labels), -1, dtype=np.intp) for one in lists]
    named = np.unique(np.concatenate([_no_rows(), *items, *(one.history for one in lists)]))
    named = named[named >= 0]
    bank, found = table.centred(named)
    place_of = np.full(int(named.max(initial=0)) + 1, -1, dtype=np.int32)
    place_of[named[found]] = np.arange(int(found.sum()), dtype=np.int32)
    width = max((len(one.history) for one in lists), default=0)
    history = np.full((len(lists), width), -1, dtype=np.int32)
    weights = np.zeros((len(lists), width), dtype=np.float32)
    for turn, one in enumerate(lists):
        history[turn, : len(one.history)] = take_rows(place_of, one.history, -1)
        weights[turn, : len(one.weights)] = one.weights
    placed = take_rows(place_of, np.concatenate([_no_rows(), *items]), -1)
    return ListVectors(bank[found], placed, history, weights)
