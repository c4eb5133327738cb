"""The gate that a fusion function has learned, made visible: what moves its scores, by history and by popularity.

The same for every function: of the lists with a history of about a length, how much of the candidates' differences in
score comes from each group. A group's part is the standard deviation of its contributions within a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.registry import FEATURES, INDEX
from services.ranker.fusion.gated import HISTORY_KNOTS
from services.ranker.nouns import GatePoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.ranker.fusion.base import FusionFunction, RankingInput
    from services.ranker.items.table import ItemTable
    from services.ranker.training.learned import LearnedList

HISTORY, POPULARITY = "history_events", "item_positives"
GROUPS = tuple(dict.fromkeys(feature.group for feature in FEATURES))
POPULARITY_EDGES = (0, 1, 10, 50, 200)
"""From how many positive events on an item counts to a step of the popularity axis."""
MAX_LISTS, MAX_ROWS = 30, 40
"""Of one step: contributions of networks take a moment."""
_OF_GROUP = np.array([[feature.group == group for group in GROUPS] for feature in FEATURES], dtype=np.float32)


def gate_points(fusion: FusionFunction, lists: Sequence[LearnedList], table: ItemTable | None) -> list[GatePoint]:
    """Returns the points along both axes for which there are lists."""
    return [*_by_history(fusion, lists, table), *_by_popularity(fusion, lists, table)]


def _by_history(fusion: FusionFunction, lists: Sequence[LearnedList], table: ItemTable | None) -> list[GatePoint]:
    lengths = np.array([np.expm1(one.features[0, INDEX["history_events"]]) for one in lists])
    nearest = np.argmin(np.abs(np.log1p(lengths)[:, None] - np.log1p(HISTORY_KNOTS)), axis=1)
    points = []
    for step, knot in enumerate(HISTORY_KNOTS):
        moved = [_groups(fusion, one.input(table)).std(axis=0) for one in _some(lists, nearest == step)]
        points += _point(HISTORY, float(knot), moved)
    return points


def _by_popularity(fusion: FusionFunction, lists: Sequence[LearnedList], table: ItemTable | None) -> list[GatePoint]:
    moved: dict[int, list[NDArray[np.float32]]] = {step: [] for step in range(len(POPULARITY_EDGES))}
    for one in _some(lists, np.ones(len(lists), dtype=np.bool_)):
        parts = _groups(fusion, one.input(table))
        away = np.abs(parts - parts.mean(axis=0))
        positives = np.expm1(one.features[:MAX_ROWS, INDEX["popularity"]])
        steps = np.searchsorted(POPULARITY_EDGES, np.round(positives), side="right") - 1
        for step in np.unique(steps):
            moved[int(step)].append(away[steps == step].mean(axis=0))
    return [
        point for step, edge in enumerate(POPULARITY_EDGES) for point in _point(POPULARITY, float(edge), moved[step])
    ]


def _some(lists: Sequence[LearnedList], chosen: NDArray[np.bool_]) -> list[LearnedList]:
    places = np.flatnonzero(chosen)
    if len(places) > MAX_LISTS:
        places = places[np.linspace(0, len(places) - 1, MAX_LISTS).astype(int)]
    return [lists[int(place)] for place in places]


def _groups(fusion: FusionFunction, inputs: RankingInput) -> NDArray[np.float32]:
    """Returns what each group adds, float32 (rows, groups), of the first rows of a list."""
    _, values = fusion.contributions(inputs.take(slice(0, MAX_ROWS)))
    return np.asarray(values @ _OF_GROUP, dtype=np.float32)


def _point(axis: str, at: float, moved: Sequence[NDArray[np.float32]]) -> list[GatePoint]:
    if not moved:
        return []
    parts = np.mean(moved, axis=0)
    total = float(parts.sum())
    if total <= 0:
        return []
    return [GatePoint(axis, at, {group: float(part) / total for group, part in zip(GROUPS, parts, strict=True)})]
