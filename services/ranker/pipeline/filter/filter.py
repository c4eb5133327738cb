"""What may be recommended: seen items, exclusions, attribute rules, availability, deleted items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shared.data.nouns import EventType, SeenPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.ranker.items.catalogue import Catalogue
    from services.ranker.nouns import CandidateTable
    from services.ranker.pipeline.call import Call
    from shared.data.nouns import HistoryEvent, ItemFilter

STAGE = "filter"


def seen_items(history: Sequence[HistoryEvent], policy: SeenPolicy) -> frozenset[str]:
    """Returns the items of a history that the policy hides; impressions hide nothing."""
    if policy is SeenPolicy.ALLOW_REPEATS:
        return frozenset()
    if policy is SeenPolicy.HIDE_BOUGHT:
        return frozenset(event.item_id for event in history if event.type is EventType.PURCHASE)
    return frozenset(event.item_id for event in history if event.type is not EventType.IMPRESSION)


def allowed_test(
    call: Call, catalogue: Catalogue, item_filter: ItemFilter, policy: SeenPolicy
) -> Callable[[str], bool]:
    """Returns a test of one item id for this call."""
    seen = seen_items(call.user().history, policy)
    passes = catalogue.allows(item_filter, call.at)
    return lambda item_id: item_id not in seen and passes(item_id)


def keep(call: Call, found: CandidateTable, allowed: Callable[[str], bool]) -> CandidateTable:
    """Returns the candidates that pass, in order."""
    with call.stages.stage(STAGE):
        places = [place for place, item_id in enumerate(found.item_ids) if allowed(item_id)]
        if len(places) == len(found.item_ids):
            return found
        return found.take(np.array(places, dtype=np.intp))
