"""Fits fusion models and measures them on users that they have not learned from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.ranker.features.registry import NAMES
from services.ranker.fusion.registry import new_fusions
from services.ranker.training.gate import gate_points
from services.ranker.training.learned import stacked, thinned
from services.ranker.training.metrics import mean_ndcg
from services.ranker.training.negatives import UNIFORM
from shared.data.folds import ListKind
from shared.data.splits import Protocol
from shared.errors import ModelNotReady

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.ranker.fusion.base import FitContext, FusionFunction
    from services.ranker.items.table import ItemTable
    from services.ranker.nouns import GatePoint
    from services.ranker.training.learned import LearnedList
    from services.ranker.training.negatives import Negatives

CHOSEN_BY = {
    Protocol.WARM: ListKind.WARM,
    Protocol.NEW_ITEMS: ListKind.NEW_ITEMS,
    Protocol.NEW_USERS: ListKind.COLD_USER,
}
"""The lists whose validation NDCG@10 decides which fusion is the default."""


@dataclass(frozen=True)
class Trained:
    """Fitted fusion models; `validation[fusion][metric]` was measured on users that were not learned from.

    `gates[fusion]`: what each group of features moves, by length of history and by popularity.
    """

    fusions: dict[str, FusionFunction]
    default: str
    validation: dict[str, dict[str, float]]
    gates: dict[str, list[GatePoint]] = field(default_factory=dict)


def train(
    protocol: Protocol,
    names: Sequence[str],
    lists: Sequence[LearnedList],
    default: str,
    context: FitContext,
    table: ItemTable | None = None,
    negatives: Negatives = UNIFORM,
) -> Trained:
    """Returns the named fusion models: fitted on lists that are not held, measured on those that are, refitted on all.

    `default` is the variant to use when it is among them; else the best on validation. `table` has the items' vectors.
    Lists that were shown are learned from and measured by themselves; what is chosen is chosen on the folds' lists.
    `negatives`: what the lists that are not thinned yet are learned from.

    Raises:
        ModelNotReady: too few lists to learn from.

    """
    kept = [one for one in lists if one.held]
    thin = [thinned(one, negatives) for one in lists]
    judges = [one for one in thin if one.held and one.kind is not ListKind.SHOWN]
    learned = [one for one in thin if not one.held]
    if not learned or not judges:
        raise ModelNotReady(
            "too few users liked something after most of their history to learn an order from: import more events"
        )
    train_lists, everything = stacked(learned, table), stacked(thin, table)
    validation = stacked(judges, table)
    fusions = new_fusions(names, context)
    measured: dict[str, dict[str, float]] = {}
    progress = context.progress
    # All are fitted before any is refitted: they may share parts, and each is measured with what it was fitted to.
    for turn, (name, fusion) in enumerate(fusions.items()):
        progress.update("train", turn, 2 * len(names))
        fusion.fit(train_lists, validation, NAMES)
        measured[name] = measure(fusion, kept, table)
    for turn, fusion in enumerate(fusions.values()):
        progress.update("train", len(names) + turn, 2 * len(names))
        fusion.refit(everything, NAMES)
    progress.update("train", 2 * len(names), 2 * len(names))
    gates = _gates(fusions, kept, table)
    return Trained(fusions, default if default in fusions else _best(protocol, measured), measured, gates)


def update(
    protocol: Protocol,
    load: Callable[[], Mapping[str, FusionFunction]],
    lists: Sequence[LearnedList],
    default: str,
    context: FitContext,
    table: ItemTable | None = None,
    negatives: Negatives = UNIFORM,
) -> Trained:
    """Returns published fusions after they have gone on learning from new lists; as `train` besides.

    `load` returns them anew each time: once to be measured on held lists, once to learn from all.

    Raises:
        ModelNotReady: too few lists to learn from.

    """
    kept = [one for one in lists if one.held]
    thin = [thinned(one, negatives) for one in lists]
    learned = [one for one in thin if not one.held]
    if not learned or all(one.kind is ListKind.SHOWN for one in kept):
        raise ModelNotReady("too few users liked something since then to go on from: train without a warm start")
    judged, fusions = dict(load()), dict(load())
    measured: dict[str, dict[str, float]] = {}
    for turn, name in enumerate(fusions):
        context.progress.update("update", turn, len(fusions))
        judged[name].update(stacked(learned, table), NAMES)
        measured[name] = measure(judged[name], kept, table)
        fusions[name].update(stacked(thin, table), NAMES)
    context.progress.update("update", len(fusions), len(fusions))
    gates = _gates(fusions, kept, table)
    return Trained(fusions, default if default in fusions else _best(protocol, measured), measured, gates)


def _gates(
    fusions: Mapping[str, FusionFunction], lists: Sequence[LearnedList], table: ItemTable | None
) -> dict[str, list[GatePoint]]:
    # Lists of a dozen rows say little of what moves the scores of hundreds.
    of_folds = [one for one in lists if one.kind is not ListKind.SHOWN]
    return {name: gate_points(fusion, of_folds, table) for name, fusion in fusions.items()}


def _best(protocol: Protocol, measured: Mapping[str, Mapping[str, float]]) -> str:
    decisive = f"ndcg@10 {CHOSEN_BY[protocol].value}"
    return max(measured, key=lambda name: measured[name].get(decisive, measured[name]["ndcg@10"]))


def measure(fusion: FusionFunction, lists: Sequence[LearnedList], table: ItemTable | None = None) -> dict[str, float]:
    """Returns NDCG@10 over the folds' lists as "ndcg@10", and over each kind of list that there is ("ndcg@10 warm").

    Lists that were shown are short: they are a figure of their own.
    """
    found = {"ndcg@10": mean_ndcg(fusion, [one for one in lists if one.kind is not ListKind.SHOWN], table)}
    for kind in ListKind:
        value = mean_ndcg(fusion, [one for one in lists if one.kind is kind], table)
        if not math.isnan(value):
            found[f"ndcg@10 {kind.value}"] = value
    return found
