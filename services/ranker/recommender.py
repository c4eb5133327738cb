"""Answers questions: the stages of the pipeline, in order."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.computing import Computing
from services.ranker.models.shelf import UNTRAINED, check_minimum
from services.ranker.nouns import Answer, CandidateQuery, CandidateTable
from services.ranker.pipeline.call import FULL_FUSION, SERVICE, Call, merged_times
from services.ranker.pipeline.filter.filter import allowed_test, keep, passing_test
from services.ranker.pipeline.record.record import token
from services.ranker.pipeline.score.score import Parts, Scored, parts_of, score
from services.ranker.pipeline.select.narrowing import late_rules, narrowed
from services.ranker.pipeline.select.options import Action
from services.ranker.pipeline.select.pins import usable_pins
from services.ranker.pipeline.select.selection import STAGE, Selection
from services.ranker.pipeline.sources.sources import COMPONENT
from services.ranker.results import renamed
from services.ranker.together import ending_together, together
from shared.data.limits import MAX_CANDIDATES
from shared.data.nouns import ItemFilter, SeenPolicy
from shared.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.ranker.items.live import LiveItems
    from services.ranker.kept import KeptAnswers
    from services.ranker.models.shelf import ModelShelf
    from services.ranker.nouns import ExplainRequest, Question, RankRequest, RecommendRequest, Result
    from services.ranker.pipeline.assign.assign import Assign
    from services.ranker.pipeline.hydrate.hydrate import Hydrate
    from services.ranker.pipeline.record.record import ImpressionRecorder
    from services.ranker.pipeline.select.adjust import Adjusted
    from services.ranker.pipeline.select.options import Pin, Plan
    from services.ranker.pipeline.select.selector import Selector
    from services.ranker.pipeline.sources.sources import Sources
    from services.ranker.results import Results
    from services.ranker.settings import RankerSettings

NO_FILTER = ItemFilter()


@dataclass(frozen=True)
class Recommender:
    """The domain of the service: what `servicer` calls."""

    settings: RankerSettings
    shelf: ModelShelf
    live: LiveItems
    assign: Assign
    hydrate: Hydrate
    sources: Sources
    results: Results
    recorder: ImpressionRecorder
    selector: Selector
    kept: KeptAnswers
    computing: Computing = field(default_factory=Computing)

    async def recommend(self, request: RecommendRequest) -> Answer:
        """Returns the best items for a user.

        Raises:
            NotFound: unknown variant or model version.
            ModelNotReady: the model is older than the asked minimum, or Thompson sampling has learned nothing here.
            InvalidField: the request pins what the rules file blocks, or more of a category than its caps allow.
            DependencyUnavailable: nothing is left to answer from.

        """
        basis, mark = self.kept.basis(), self.recorder.mark
        call = await self._begin(request.question)
        # With the variant that an experiment assigned: answers are kept for each on its own.
        request = replace(request, question=call.question)
        catalogue, rules_version = self.live.catalogue, self.selector.book.version
        plan = self.selector.plan(request.selection, request.diversity)
        allowed = allowed_test(call, catalogue, request.item_filter, request.seen_policy, plan)
        passes = passing_test(call, catalogue, request.item_filter, plan)
        pinned = {pin.item_id for pin in plan.all_pins}
        # A pin may have been seen; whatever else bars an item, bars a pin.
        kept = self.kept.find(call, request, rules_version, lambda one: (passes if one in pinned else allowed)(one))
        if kept is not None:
            stages = merged_times(call.stages.times)
            return self._record(call, request, replace(kept, recommendation_id=uuid.uuid4().hex, stages=stages), mark)
        pins, unmet = usable_pins(plan, request.k, catalogue, passes)
        query, found, before = await self._candidates(call, request, plan, allowed)
        found = await self._with_these(call, query, found, [pin.item_id for pin in pins])
        adjusted, chosen, parts = await self.computing.run(self._decide, call, found, request, plan, pins, unmet)
        results = await self.results.of(call, adjusted, chosen, parts, explain=request.explain)
        answer = replace(self._answer(call, results, adjusted.scored), unmet=chosen.unmet)
        if not results:
            return replace(answer, empty_reason=_empty_reason(request, plan, before, len(found.item_ids)))
        self.kept.put(call, request, rules_version, basis, answer)
        return self._record(call, request, answer, mark)

    async def batch(self, requests: Sequence[RecommendRequest]) -> list[Answer]:
        """Returns one answer per request, each as `recommend` gives it; raises what the first that fails raises."""
        permits = asyncio.Semaphore(self.settings.batch_concurrency)

        async def one(index: int, request: RecommendRequest) -> Answer:
            async with permits:
                try:
                    return await self.recommend(request)
                except FieldError as error:
                    raise error.under(f"requests[{index}]") from error

        return await together(one(index, request) for index, request in enumerate(requests))

    async def rank(self, request: RankRequest) -> Answer:
        """Returns the caller's candidates, best first; those that are in no catalogue come last. Raises as above."""
        call = await self._begin(request.question)
        query = replace(
            self._query(call, len(request.item_ids), NO_FILTER, SeenPolicy.ALLOW_REPEATS),
            score_item_ids=request.item_ids,
        )
        found = await self._search(call, query)
        if found is None:
            found = self._unsupported(call, request.item_ids)
        adjusted = await self.computing.run(self._scored, call, found)
        scored = adjusted.scored
        unknown = [item_id for item_id in request.item_ids if not self._is_known(call, item_id)]
        lost = np.isin(found.item_ids, unknown) if unknown else np.zeros(len(found.item_ids), dtype=np.bool_)
        order = np.lexsort((np.arange(len(lost)), np.where(lost, 0, -scored.scores), lost))
        places = [int(place) for place in order[: request.k or len(order)]]
        parts = await self.computing.run(parts_of, scored, places)
        results = await self.results.of(call, adjusted, Selection.certain(places), parts, explain=request.explain)
        return replace(self._answer(call, results, scored), unknown_item_ids=tuple(unknown))

    async def explain(self, request: ExplainRequest) -> Answer:
        """Returns why items have their scores: those that Recommend would give them. Raises as above.

        Scores depend a little on the list they stand in. So the user's own candidates are asked for first, and
        items that are not among them are added.
        """
        call = await self._begin(request.question)
        query = self._query(call, self.settings.candidates, NO_FILTER, SeenPolicy.HIDE_ALL_SEEN)
        found = await self._search(call, query)
        known = [item_id for item_id in request.item_ids if self._is_known(call, item_id)]
        if found is None:
            found = self._unsupported(call, known)
        found = await self._with_these(call, query, found, known)
        adjusted = await self.computing.run(self._scored, call, found)
        scored = adjusted.scored
        where = {item_id: place for place, item_id in enumerate(found.item_ids)}
        places = [where[item_id] for item_id in known]
        parts = await self.computing.run(parts_of, scored, places)
        results = await self.results.of(call, adjusted, Selection.certain(places), parts, explain=True)
        of_catalogue = set(known)
        unknown = tuple(item_id for item_id in request.item_ids if item_id not in of_catalogue)
        return replace(self._answer(call, results, scored), unknown_item_ids=unknown)

    async def _begin(self, question: Question) -> Call:
        model = await self.shelf.get(question.model_version)
        check_minimum(model, question.min_model_version)
        pinned = bool(question.model_version) and model is not None
        table = model.table if pinned and model is not None else self.live.table
        if question.variant and model is not None:
            model.fusion(question.variant)
        call = Call(question, model, table, at=question.as_of or datetime.now(UTC))
        if model is None:
            reason = "no fusion model has been trained yet: run `fusionrec train`"
            call.degrade("fusion", reason, "merged_order")
        await self.assign.variant(call)
        await self.hydrate.history(call)
        return call

    def _query(self, call: Call, k: int, item_filter: ItemFilter, policy: SeenPolicy) -> CandidateQuery:
        return CandidateQuery(
            history=call.user().history,
            k=k,
            user_id=call.question.user_id,
            item_filter=item_filter,
            seen_policy=policy,
            model_version=call.candidates_version,
            as_of=call.question.as_of,
        )

    async def _candidates(
        self, call: Call, request: RecommendRequest, plan: Plan, allowed: Callable[[str], bool]
    ) -> tuple[CandidateQuery, CandidateTable, int]:
        """Returns the query, the candidates that may be shown, and how many there were before they were looked at.

        Rules that no filter can hold are checked after the search. Where they leave too few of all that were asked
        for, it is made once more, for as many as there may be.
        """
        wanted = min(max(self.settings.candidates, 2 * request.k), MAX_CANDIDATES)
        narrow = narrowed(request.item_filter, plan, self.live.catalogue)
        query = self._query(call, wanted, narrow, request.seen_policy)
        found = await self._search(call, query)
        if found is None:
            fallen = await asyncio.to_thread(self.sources.fall_back, call, wanted, allowed)
            return query, keep(call, fallen, allowed), wanted
        kept = keep(call, found, allowed)
        is_short = len(kept.item_ids) < request.k and len(found.item_ids) >= wanted
        if is_short and late_rules(plan, narrow, self.live.catalogue):
            more = await self.sources.find(call, replace(query, k=MAX_CANDIDATES))
            if more is not None:
                return query, keep(call, more, allowed), len(more.item_ids)
            # Lost meanwhile: what came before is what is chosen from.
            call.degrade(COMPONENT, call.degraded[COMPONENT].reason, FULL_FUSION)
        return query, kept, len(found.item_ids)

    async def _search(self, call: Call, query: CandidateQuery) -> CandidateTable | None:
        async with ending_together() as group:
            found = group.create_task(self.sources.find(call, query))
            group.create_task(self.hydrate.texts(call))
        table = found.result()
        if table is not None and table.version and not call.candidates_version:
            self.kept.note_candidates(table.version)
        return table

    def _unsupported(self, call: Call, item_ids: Sequence[str]) -> CandidateTable:
        """Returns the caller's items without evidence: candidates does not answer, the fusion reads what is left."""
        degradation = call.degraded["candidates"]
        call.degrade("candidates", degradation.reason, "text_only")
        return CandidateTable.plain(list(item_ids), np.zeros(len(item_ids), dtype=np.float32))

    def _is_known(self, call: Call, item_id: str) -> bool:
        if len(self.live.catalogue):
            return self.live.catalogue.get(item_id) is not None
        # The log has not been read yet: what the model knows has to do.
        return item_id in call.table.rows

    async def _with_these(
        self, call: Call, query: CandidateQuery, found: CandidateTable, item_ids: Sequence[str]
    ) -> CandidateTable:
        """Returns the candidates and after them those of `item_ids` that are not among them, with their evidence."""
        proposed = set(found.item_ids)
        rest = tuple(item_id for item_id in item_ids if item_id not in proposed)
        if not rest:
            return found
        wanted = replace(query, k=len(rest), score_item_ids=rest)
        more = None if "candidates" in call.degraded else await self.sources.find(call, wanted)
        return found.extended(more or CandidateTable.plain(list(rest), np.zeros(len(rest), dtype=np.float32)))

    def _scored(self, call: Call, found: CandidateTable) -> Adjusted:
        return self.selector.adjust(call, score(call, found), self.selector.plan())

    def _decide(
        self,
        call: Call,
        found: CandidateTable,
        request: RecommendRequest,
        plan: Plan,
        pins: Sequence[Pin],
        unmet: Sequence[str],
    ) -> tuple[Adjusted, Selection, Parts]:
        scored = score(call, found)
        with call.stages.stage(STAGE):
            adjusted = self.selector.adjust(call, scored, plan)
            chosen = self.selector.choose(call, adjusted.scored, request, plan, pins, unmet)
        return adjusted, chosen, parts_of(scored, chosen.places)

    def _answer(self, call: Call, results: Sequence[Result], scored: Scored) -> Answer:
        candidates = scored.candidates
        models = {SERVICE: UNTRAINED if call.model is None else call.model.version}
        if candidates.version:
            models["candidates"] = candidates.version
        if call.texts is not None and call.table.embedding_version:
            models["embedding"] = call.table.embedding_version
        return Answer(
            results=tuple(results),
            temperature=call.user().temperature,
            degraded=tuple(call.degraded.values()),
            models=models,
            index_version=candidates.index_version,
            stages=merged_times(call.stages.times),
            recommendation_id=uuid.uuid4().hex,
            candidates_scored=len(candidates.item_ids),
            variant="" if call.model is None else call.question.variant or call.model.default,
            computed_at=datetime.now(UTC),
        )

    def _record(self, call: Call, request: RecommendRequest, answer: Answer, mark: int) -> Answer:
        if call.is_pinned or request.skip_impressions or not request.question.user_id:
            return answer
        with call.stages.stage("record"):
            tokens = [token(answer.recommendation_id, one.position) for one in answer.results]
            results = renamed(answer.results, tokens)
            self.recorder.put(request.question.user_id, results, mark)
        return replace(answer, results=results, stages=merged_times(call.stages.times))


def _empty_reason(request: RecommendRequest, plan: Plan, before: int, left: int) -> str:
    if left:
        return f"the caps leave nothing of {left} candidates"
    if before:
        return f"the filter leaves nothing of {before} candidates"
    narrows = request.item_filter != NO_FILTER or plan.block_item_ids or plan.rules_of(Action.REQUIRE, Action.EXCLUDE)
    return "the filter and the rules leave no candidate" if narrows else "there are no candidates"
