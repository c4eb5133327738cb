"""What rules add to scores: boosts, burials and the lift of rarely chosen items, each a contribution of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.nouns import FeatureContribution
from services.ranker.pipeline.select.options import Action

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.ranker.items.arrays import F32
    from services.ranker.items.catalogue import Catalogue
    from services.ranker.pipeline.call import Call
    from services.ranker.pipeline.score.score import Scored
    from services.ranker.pipeline.select.options import Plan

RULES = "rules"
"""The group of these contributions."""
LONG_TAIL = "long_tail"
LONG_TAIL_DEVIATIONS = 2.0
"""Standard deviations of the scores by which the rarest item is lifted at strength 1."""


@dataclass(frozen=True)
class Adjusted:
    """Scores with what the rules add. `added[name]` is a pair of float32 (n,): the values and the contributions."""

    scored: Scored
    added: Mapping[str, tuple[F32, F32]]

    def contributions(self, place: int) -> tuple[FeatureContribution, ...]:
        """Returns what the rules add to the score at `place`; rules that say nothing of it are left out."""
        return tuple(
            FeatureContribution(name, RULES, float(values[place]), float(amounts[place]))
            for name, (values, amounts) in self.added.items()
            if amounts[place] != 0
        )


def adjusted(call: Call, scored: Scored, plan: Plan, catalogue: Catalogue) -> Adjusted:
    """Returns the scores that the plan makes of those of the fusion.

    Amounts are in standard deviations of the scores of what no pin names: a pin may lie far from what was found.
    """
    rules = plan.rules_of(Action.BOOST, Action.BURY)
    item_ids = scored.candidates.item_ids
    if not item_ids or not (rules or plan.long_tail):
        return Adjusted(scored, {})
    pinned = {pin.item_id for pin in plan.all_pins}
    free = scored.scores[[item_id not in pinned for item_id in item_ids]] if pinned else scored.scores
    deviation = (float(free.std()) if len(free) else 0.0) or 1.0
    added: dict[str, tuple[F32, F32]] = {}
    for rule in rules:
        matches = catalogue.matches(rule.when)
        hit = np.array([matches(item_id) for item_id in item_ids], dtype=np.float32)
        amount = rule.amount if rule.action is Action.BOOST else -rule.amount
        added[f"rule:{rule.name}"] = (hit, hit * np.float32(amount * deviation))
    if plan.long_tail:
        rare = rarity(call, item_ids)
        added[LONG_TAIL] = (rare, rare * np.float32(plan.long_tail * LONG_TAIL_DEVIATIONS * deviation))
    total = np.sum([amounts for _, amounts in added.values()], axis=0, dtype=np.float32)
    return Adjusted(replace(scored, scores=np.asarray(scored.scores + total, dtype=np.float32)), added)


def rarity(call: Call, item_ids: list[str]) -> F32:
    """Returns 1 - log(1 + positives) / log(1 + most positives of an item), 0 to 1: float32 (n,)."""
    popularity = call.table.popularity
    most = float(popularity.positives.max()) if len(popularity.positives) else 0.0
    positives = popularity.take(popularity.positives, call.table.find(item_ids))
    return np.asarray(1 - np.log1p(positives) / max(np.log1p(most), 1e-9), dtype=np.float32)
