"""Fits fusion models and measures them on users that they have not learned from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.registry import NAMES
from services.ranker.fusion.registry import new_fusions
from services.ranker.training.lists import stacked, thinned
from services.ranker.training.metrics import mean_ndcg
from shared.data.folds import ListKind
from shared.data.splits import Protocol, hidden_fifth
from shared.errors import ModelNotReady

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ranker.fusion.base import FusionFunction
    from services.ranker.training.lists import LearnedList
    from shared.telemetry.progress import JobProgress

MAX_NEGATIVES = 100
"""Rows per list that were not relevant; the others are left out of fitting, not of measuring."""
CHOSEN_BY = {
    Protocol.WARM: ListKind.WARM,
    Protocol.NEW_ITEMS: ListKind.NEW_ITEMS,
    Protocol.NEW_USERS: ListKind.COLD_USER,
}
"""The lists whose validation NDCG@10 decides which fusion is the default."""


@dataclass(frozen=True)
class Trained:
    """Fitted fusion models; `validation[fusion][metric]` was measured on users that were not learned from."""

    fusions: dict[str, FusionFunction]
    default: str
    validation: dict[str, dict[str, float]]


def train(
    protocol: Protocol, names: Sequence[str], lists: Sequence[LearnedList], default: str, progress: JobProgress
) -> Trained:
    """Returns the named fusion models: fitted on four fifths of the users, measured on the rest, refitted on all.

    `default` is the variant to use when it is among them; else the best on validation.

    Raises:
        ModelNotReady: too few lists to learn from.

    """
    held = hidden_fifth({one.user_id for one in lists})
    kept = [one for one in lists if one.user_id in held]
    random = np.random.default_rng(0)
    thin = [thinned(one, MAX_NEGATIVES, random) for one in lists]
    learned = [one for one in thin if one.user_id not in held]
    if not learned or not kept:
        raise ModelNotReady(
            "too few users liked something after most of their history to learn an order from: import more events"
        )
    train_lists, everything = stacked(learned), stacked(thin)
    validation = stacked([one for one in thin if one.user_id in held])
    fusions = new_fusions(names)
    measured: dict[str, dict[str, float]] = {}
    # All are fitted before any is refitted: they may share parts, and each is measured with what it was fitted to.
    for turn, (name, fusion) in enumerate(fusions.items()):
        progress.update("train", turn, 2 * len(names))
        fusion.fit(train_lists, validation, NAMES)
        measured[name] = measure(fusion, kept)
    for turn, fusion in enumerate(fusions.values()):
        progress.update("train", len(names) + turn, 2 * len(names))
        fusion.refit(everything, NAMES)
    progress.update("train", 2 * len(names), 2 * len(names))
    decisive = f"ndcg@10 {CHOSEN_BY[protocol].value}"
    best = max(names, key=lambda name: measured[name].get(decisive, measured[name]["ndcg@10"]))
    return Trained(fusions, default if default in fusions else best, measured)


def measure(fusion: FusionFunction, lists: Sequence[LearnedList]) -> dict[str, float]:
    """Returns NDCG@10 over all lists as "ndcg@10", and over each kind of list that there is ("ndcg@10 warm")."""
    found = {"ndcg@10": mean_ndcg(fusion, lists)}
    for kind in ListKind:
        value = mean_ndcg(fusion, [one for one in lists if one.kind is kind])
        if not math.isnan(value):
            found[f"ndcg@10 {kind.value}"] = value
    return found
