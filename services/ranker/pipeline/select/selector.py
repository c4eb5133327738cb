"""Puts the list together: rules, pins, caps, then by score, by diversity and calibration, or by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.pipeline.select import explore
from services.ranker.pipeline.select.adjust import Adjusted, adjusted
from services.ranker.pipeline.select.calibration import Calibration, category_mix
from services.ranker.pipeline.select.caps import Caps
from services.ranker.pipeline.select.dpp import Volume
from services.ranker.pipeline.select.greedy import greedy, scaled
from services.ranker.pipeline.select.mmr import NearestTaken
from services.ranker.pipeline.select.narrowing import late_rules, narrowed
from services.ranker.pipeline.select.new_items import fits, new_item_slots, with_new_items
from services.ranker.pipeline.select.options import (
    NO_OPTIONS,
    DiversityMethod,
    ExplorationMethod,
    Plan,
    SelectionOptions,
    plan_of,
)
from services.ranker.pipeline.select.pins import woven
from services.ranker.pipeline.select.selection import Selection, order_by_score
from shared.errors import ModelNotReady

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.ranker.explore.outcomes import Outcomes
    from services.ranker.items.arrays import F32, Mask
    from services.ranker.items.live import LiveItems
    from services.ranker.nouns import CandidateTable, RecommendRequest
    from services.ranker.pipeline.call import Call
    from services.ranker.pipeline.score.score import Scored
    from services.ranker.pipeline.select.greedy import Term
    from services.ranker.pipeline.select.options import Pin
    from services.ranker.pipeline.select.rule_book import RuleBook
    from services.ranker.settings import RankerSettings


NOT_LEARNING = "this server does not learn from impressions: set RANKER_EXPLORATION_LEARNS=true, or use another method"
"""Why there is no Thompson sampling."""


@dataclass(frozen=True)
class Field:
    """What may be chosen from, best first, pinned ones last. `places` are those in `scored`; `pinned` their number.

    What is pinned has its place: the scale of the scores is made by the others, the first `free` of them.
    """

    scored: Scored
    places: list[int]
    pinned: int
    caps: Caps
    categories: list[tuple[str, ...]]

    @property
    def free(self) -> int:
        """How many are not pinned."""
        return len(self.places) - self.pinned

    @property
    def item_ids(self) -> list[str]:
        """Their ids."""
        return [self.scored.candidates.item_ids[place] for place in self.places]

    @property
    def scores(self) -> F32:
        """Their scores: float32 (n,)."""
        return self.scored.scores[self.places]


@dataclass(frozen=True)
class Selector:
    """The stage `select`. `outcomes` is None where the server does not learn from impressions."""

    settings: RankerSettings
    live: LiveItems
    book: RuleBook
    outcomes: Outcomes | None = None

    def plan(self, selection: SelectionOptions = NO_OPTIONS, diversity: float | None = None) -> Plan:
        """Returns what holds for a list: what is asked, else the rules file, else the settings.

        Raises:
            ModelNotReady: Thompson sampling is asked for, and the server does not learn from impressions.

        """
        if selection.exploration_method is ExplorationMethod.THOMPSON and self.outcomes is None:
            raise ModelNotReady(NOT_LEARNING)
        return plan_of(
            selection,
            diversity,
            self.book.current,
            default_diversity=self.settings.default_diversity,
            default_exploration=ExplorationMethod[self.settings.exploration_method.upper()],
        )

    def adjust(self, call: Call, scored: Scored, plan: Plan) -> Adjusted:
        """Returns the scores with what the rules add."""
        return adjusted(call, scored, plan, self.live.catalogue)

    def choose(
        self,
        call: Call,
        scored: Scored,
        request: RecommendRequest,
        plan: Plan,
        pins: Sequence[Pin],
        unmet: Sequence[str],
    ) -> Selection:
        """Returns the list: at most k places of `scored`, and what of the request and the plan it could not have."""
        where = {item_id: place for place, item_id in enumerate(scored.candidates.item_ids)} if pins else {}
        pinned = {pin.position: where[pin.item_id] for pin in pins if pin.item_id in where}
        field = self._field(scored, plan, list(pinned.values()))
        count = max(min(request.k, len(field.places)) - len(pinned), 0)
        if request.explore:
            free, missed = self._explored(field, count, plan), self._set_aside(plan)
        else:
            shown, missed = self._with_new_items(call, field, self._best(call, field, count, plan), request, plan)
            free = Selection.certain(shown)
        missed += self._empty_places(request, len(field.places), count - len(free.places), plan)
        free = Selection([field.places[place] for place in free.places], free.propensities)
        return woven(free, pinned, (*unmet, *missed))

    def is_new(self, call: Call, candidates: CandidateTable, places: Sequence[int] | None = None) -> Mask:
        """Returns which candidates, all or those at `places`, arrived after the training: bool (n,)."""
        if call.model is None:
            return candidates.is_new if places is None else candidates.is_new[list(places)]
        item_ids = candidates.item_ids
        asked = item_ids if places is None else [item_ids[place] for place in places]
        return np.asarray(call.model.table.find(asked) < 0)

    def _field(self, scored: Scored, plan: Plan, pinned: list[int]) -> Field:
        away = set(pinned)
        places = [place for place in order_by_score(scored.scores) if place not in away] + pinned
        categories: list[tuple[str, ...]] = []
        if plan.category_caps or plan.max_per_category is not None or plan.calibration:
            categories = [self._categories(scored.candidates.item_ids[place]) for place in places]
        caps = Caps.of(categories, dict(plan.category_caps), plan.max_per_category, count=len(places))
        first = len(places) - len(pinned)
        for place in range(first, len(places)):
            caps.take(place)
            caps.close(place)
        return Field(scored, places, len(pinned), caps, categories)

    def _best(self, call: Call, field: Field, count: int, plan: Plan) -> list[int]:
        terms: list[tuple[float, Term]] = []
        weight = 1.0
        if plan.calibration:
            mix = category_mix(self._categories(item_id) for item_id in call.user().liked)
            if mix:
                weight -= plan.calibration
                terms.append((plan.calibration, Calibration(mix, field.categories)))
        if plan.diversity and field.places:
            terms.append((weight * plan.diversity, self._diversity(call, field, count, plan)))
            weight *= 1 - plan.diversity
        for _, term in terms:
            for place in range(field.free, len(field.places)):
                term.take(place)
        return greedy(scaled(field.scores, field.free), weight, terms, count, field.caps)

    def _diversity(self, call: Call, field: Field, count: int, plan: Plan) -> Term:
        vectors, found = call.table.centred(call.table.find(field.item_ids))
        if plan.diversity_method is DiversityMethod.DPP:
            return Volume(vectors, found, count + field.pinned)
        return NearestTaken(vectors)

    def _explored(self, field: Field, count: int, plan: Plan) -> Selection:
        random = np.random.default_rng()
        temperature = self.settings.exploration_temperature
        scores = explore.standardised(field.scores, field.free)
        if plan.exploration_method is ExplorationMethod.PLACKETT_LUCE:
            return explore.plackett_luce(scores, count, temperature, field.caps, random)
        if self.outcomes is None:
            # `plan`, the settings and the rules file refuse it before anything is computed.
            raise ModelNotReady(NOT_LEARNING)
        draws = explore.draws_of(len(field.places))
        lifts = self.outcomes.lifts(field.item_ids, draws, random)
        values = scores + np.float32(temperature) * lifts
        return explore.thompson(np.asarray(values, dtype=np.float32), count, field.caps, random)

    def _set_aside(self, plan: Plan) -> list[str]:
        """Returns which dials of the rules file do not hold under `explore`; a request may not ask for both."""
        by_file = plan.diversity if plan.diversity != self.settings.default_diversity else 0.0
        dials = {"diversity": by_file, "calibration": plan.calibration, "min_new_share": plan.min_new_share}
        names = ", ".join(name for name, value in dials.items() if value)
        return [f"{names} of the rules file: set aside, as chance orders the list under explore"] if names else []

    def _with_new_items(
        self, call: Call, field: Field, shown: list[int], request: RecommendRequest, plan: Plan
    ) -> tuple[list[int], list[str]]:
        """Returns the places with new items among them, and what is said when fewer came than were asked for."""
        every = self.settings.new_item_every
        slots = new_item_slots(request.new_item_slots, plan.min_new_share, request.k, every)
        asked = slots if request.new_item_slots is not None or plan.min_new_share is not None else 0
        if call.is_pinned:
            reason = f"0 of {asked} places for new items: a pinned version is served without them"
            return shown, [reason] if asked else []
        top = max(int(self.settings.new_item_top_share * len(self.live.catalogue)), 1)
        candidates = field.scored.candidates
        fitting = fits(self.is_new(call, candidates), candidates.ranks.get("aligned_text"), top)
        own = {place: turn for turn, place in enumerate(field.places[: field.free])}
        pinned = list(range(field.free, len(field.places)))
        holds: Callable[[list[int]], bool] = lambda places: field.caps.hold([*pinned, *places])  # noqa: E731 (one use)
        wanted = [own[place] for place in fitting if place in own]
        chosen = with_new_items(shown, wanted, slots, every, holds)
        came = len(set(wanted) & set(chosen))
        return chosen, [f"{came} of {asked} places for new items: no more of them fit"] if came < asked else []

    def _empty_places(self, request: RecommendRequest, candidates: int, capped: int, plan: Plan) -> list[str]:
        """Returns why a list is short: `capped` places by the caps, the rest for want of `candidates`."""
        said, k, catalogue = [], request.k, self.live.catalogue
        if capped:
            said.append(f"{capped} of {k} places are empty: the caps leave no more items")
        if candidates < k and (late := late_rules(plan, narrowed(request.item_filter, plan, catalogue), catalogue)):
            names = ", ".join(repr(name) for name in late)
            said.append(
                f"{k - candidates} of {k} places are empty: of the candidates that were searched no more are left "
                f"(excluded after the search by {names})"
            )
        return said

    def _categories(self, item_id: str) -> tuple[str, ...]:
        item = self.live.catalogue.get(item_id)
        return () if item is None else item.categories
