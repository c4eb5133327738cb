"""What may be recommended: seen items, exclusions, attribute rules, availability, deleted items."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.pipeline.select.narrowing import passing
from services.ranker.pipeline.select.options import Plan
from shared.data.nouns import EventType, SeenPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.ranker.items.catalogue import Catalogue
    from services.ranker.nouns import CandidateTable
    from services.ranker.pipeline.call import Call
    from shared.data.nouns import HistoryEvent, ItemFilter

STAGE = "filter"
NO_PLAN = Plan()


def seen_items(history: Sequence[HistoryEvent], policy: SeenPolicy) -> frozenset[str]:
    """Returns the items of a history that the policy hides; impressions hide nothing."""
    if policy is SeenPolicy.ALLOW_REPEATS:
        return frozenset()
    if policy is SeenPolicy.HIDE_BOUGHT:
        return frozenset(event.item_id for event in history if event.type is EventType.PURCHASE)
    return frozenset(event.item_id for event in history if event.type is not EventType.IMPRESSION)


def passing_test(call: Call, catalogue: Catalogue, item_filter: ItemFilter, plan: Plan) -> Callable[[str], bool]:
    """Returns a test of one item id for this call, seen or not: what pins must pass."""
    allowed = catalogue.allows(item_filter, call.at)
    if not (plan.block_item_ids or plan.rules):
        return allowed
    passes = passing(plan, catalogue)
    return lambda item_id: allowed(item_id) and passes(item_id)


def allowed_test(
    call: Call, catalogue: Catalogue, item_filter: ItemFilter, policy: SeenPolicy, plan: Plan = NO_PLAN
) -> Callable[[str], bool]:
    """Returns a test of one item id for this call."""
    seen = seen_items(call.user().history, policy)
    # As if they were excluded: one look for both.
    return passing_test(
        call, catalogue, replace(item_filter, exclude_item_ids=item_filter.exclude_item_ids | seen), plan
    )


def keep(call: Call, found: CandidateTable, allowed: Callable[[str], bool]) -> CandidateTable:
    """Returns the candidates that pass, in order."""
    with call.stages.stage(STAGE):
        places = [place for place, item_id in enumerate(found.item_ids) if allowed(item_id)]
        if len(places) == len(found.item_ids):
            return found
        return found.take(np.array(places, dtype=np.intp))
