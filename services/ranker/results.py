"""Results: what is said of each chosen candidate, with its reasons when they are asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.ranker.explain.explain import explanations
from services.ranker.explain.shares import source_shares
from services.ranker.nouns import FeatureContribution, Result
from services.ranker.pipeline.select.adjust import RULES
from shared.offload import offload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ranker.explain.reasons import Reasons
    from services.ranker.explain.writer import SentenceWriter
    from services.ranker.items.arrays import Mask
    from services.ranker.items.live import LiveItems
    from services.ranker.nouns import Explanation
    from services.ranker.pipeline.call import Call
    from services.ranker.pipeline.score.score import Parts
    from services.ranker.pipeline.select.adjust import Adjusted
    from services.ranker.pipeline.select.selection import Selection
    from services.ranker.pipeline.select.selector import Selector

RESULTS_PER_ELEMENT = 3
"""Results that take as long to put together as one of the elements that `shared.offload` counts."""
PIN = "pin"
TEMPLATE = "template"
"""Who writes sentences where no language model does, and what stands in for one."""


@dataclass(frozen=True)
class Results:
    """Puts results together."""

    live: LiveItems
    reasons: Reasons
    selector: Selector
    writer: SentenceWriter | None = None

    async def of(
        self, call: Call, adjusted: Adjusted, chosen: Selection, parts: Parts, *, explain: bool
    ) -> list[Result]:
        """Returns one result per chosen place; `parts` has one row for each of them."""
        candidates, title = adjusted.scored.candidates, self.live.catalogue.title
        item_ids = [candidates.item_ids[place] for place in chosen.places]
        is_new = self.selector.is_new(call, candidates, chosen.places)
        reasons = None
        if explain and item_ids:
            behaviour = await self.reasons.behaviour(call, item_ids)
            rules = [_by_rules(adjusted, chosen, turn) for turn in range(len(item_ids))]
            reasons = await asyncio.to_thread(
                explanations, call, item_ids, is_new.tolist(), parts, behaviour, title, rules
            )
            if self.writer is not None:
                reasons = await self.writer.write(reasons, [title(one) for one in item_ids], is_new.tolist())
                _note_templates(call, reasons)
        elements = len(item_ids) // RESULTS_PER_ELEMENT
        return await offload(elements, self._built, adjusted, chosen, parts, is_new, reasons)

    def _built(
        self,
        adjusted: Adjusted,
        chosen: Selection,
        parts: Parts,
        is_new: Mask,
        reasons: Sequence[Explanation] | None,
    ) -> list[Result]:
        candidates, scores = adjusted.scored.candidates, adjusted.scored.scores
        item_ids = [candidates.item_ids[place] for place in chosen.places]
        cf, text = parts.cf, parts.text
        shares = source_shares(candidates, chosen.places)
        return [
            Result(
                item_id=item_id,
                score=float(scores[place]),
                position=turn + 1,
                sources=shares[turn],
                cf_contribution=float(cf[turn]),
                text_contribution=float(text[turn]),
                is_new=bool(is_new[turn]),
                explanation=None if reasons is None else reasons[turn],
                title=self.live.catalogue.title(item_id),
                propensity=chosen.propensities[turn],
            )
            for turn, (item_id, place) in enumerate(zip(item_ids, chosen.places, strict=True))
        ]


def _note_templates(call: Call, reasons: Sequence[Explanation]) -> None:
    """Names the sentences that the language model should have written and has not."""
    left = sum(one.sentence_by == TEMPLATE for one in reasons)
    if left:
        why = "the language model was late or busy, or said what no fact says (metric fusionrec_sentences_total)"
        call.degrade("sentences", f"{left} of {len(reasons)} are from templates: {why}", TEMPLATE)


def _by_rules(adjusted: Adjusted, chosen: Selection, turn: int) -> tuple[FeatureContribution, ...]:
    place = chosen.places[turn]
    added = adjusted.contributions(place)
    if place not in chosen.pinned:
        return added
    # A pin moves an item and leaves its score as it is.
    return (*added, FeatureContribution(PIN, RULES, float(turn + 1), 0.0))


def renamed(results: Sequence[Result], tokens: Sequence[str]) -> tuple[Result, ...]:
    """Returns the results with these attribution tokens."""
    return tuple(replace(one, attribution_token=own) for one, own in zip(results, tokens, strict=True))
