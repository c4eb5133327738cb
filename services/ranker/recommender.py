"""Answers questions: the stages of the pipeline, in order."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.explain.explain import explanations
from services.ranker.explain.shares import source_shares
from services.ranker.models.shelf import UNTRAINED, check_minimum
from services.ranker.nouns import Answer, CandidateQuery, CandidateTable, Result
from services.ranker.pipeline.call import SERVICE, Call, merged_times
from services.ranker.pipeline.filter.filter import allowed_test, keep
from services.ranker.pipeline.record.record import token
from services.ranker.pipeline.score.score import Parts, Scored, parts_of, score
from services.ranker.pipeline.select import select
from services.ranker.together import ending_together, together
from shared.data.limits import MAX_CANDIDATES
from shared.data.nouns import ItemFilter, SeenPolicy
from shared.offload import offload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ranker.explain.reasons import Reasons
    from services.ranker.items.arrays import Mask
    from services.ranker.items.live import LiveItems
    from services.ranker.models.shelf import ModelShelf
    from services.ranker.nouns import ExplainRequest, Explanation, Question, RankRequest, RecommendRequest
    from services.ranker.pipeline.hydrate.hydrate import Hydrate
    from services.ranker.pipeline.record.record import ImpressionRecorder
    from services.ranker.pipeline.sources.sources import Sources
    from services.ranker.settings import RankerSettings

NO_FILTER = ItemFilter()
RESULTS_PER_ELEMENT = 3
"""Results that take as long to put together as one of the elements that `shared.offload` counts."""


@dataclass(frozen=True)
class Recommender:
    """The domain of the service: what `servicer` calls."""

    settings: RankerSettings
    shelf: ModelShelf
    live: LiveItems
    hydrate: Hydrate
    sources: Sources
    reasons: Reasons
    recorder: ImpressionRecorder

    async def recommend(self, request: RecommendRequest) -> Answer:
        """Returns the best items for a user.

        Raises:
            NotFound: unknown variant or model version.
            ModelNotReady: the model is older than the asked minimum.
            DependencyUnavailable: nothing is left to answer from.

        """
        call = await self._begin(request.question)
        wanted = min(max(self.settings.candidates, 2 * request.k), MAX_CANDIDATES)
        query = self._query(call, wanted, request.item_filter, request.seen_policy)
        found = await self._search(call, query)
        allowed = allowed_test(call, self.live.catalogue, request.item_filter, request.seen_policy)
        before = wanted if found is None else len(found.item_ids)
        if found is None:
            found = await asyncio.to_thread(self.sources.fall_back, call, wanted, allowed)
        found = keep(call, found, allowed)
        scored, chosen, parts = await asyncio.to_thread(self._decide, call, found, request)
        results = await self._results(call, scored, chosen, parts, explain=request.explain)
        return self._record(call, request, self._answer(call, results, scored), before)

    async def batch(self, requests: Sequence[RecommendRequest]) -> list[Answer]:
        """Returns one answer per request, each as `recommend` gives it; raises what the first that fails raises."""
        permits = asyncio.Semaphore(self.settings.batch_concurrency)

        async def one(request: RecommendRequest) -> Answer:
            async with permits:
                return await self.recommend(request)

        return await together(one(request) for request in requests)

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
        scored = await asyncio.to_thread(score, call, found)
        unknown = [item_id for item_id in request.item_ids if not self._is_known(call, item_id)]
        lost = np.isin(found.item_ids, unknown) if unknown else np.zeros(len(found.item_ids), dtype=np.bool_)
        order = np.lexsort((np.arange(len(lost)), np.where(lost, 0, -scored.scores), lost))
        places = [int(place) for place in order[: request.k or len(order)]]
        parts = await asyncio.to_thread(parts_of, scored, places)
        chosen = select.Selection.certain(places)
        results = await self._results(call, scored, chosen, parts, explain=request.explain)
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
        proposed = set(found.item_ids)
        rest = tuple(item_id for item_id in known if item_id not in proposed)
        if rest:
            more = await self.sources.find(call, replace(query, k=len(rest), score_item_ids=rest))
            found = found.extended(more or CandidateTable.plain(list(rest), np.zeros(len(rest), dtype=np.float32)))
        scored = await asyncio.to_thread(score, call, found)
        where = {item_id: place for place, item_id in enumerate(found.item_ids)}
        places = [where[item_id] for item_id in known]
        parts = await asyncio.to_thread(parts_of, scored, places)
        results = await self._results(call, scored, select.Selection.certain(places), parts, explain=True)
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

    async def _search(self, call: Call, query: CandidateQuery) -> CandidateTable | None:
        async with ending_together() as group:
            found = group.create_task(self.sources.find(call, query))
            group.create_task(self.hydrate.texts(call))
        return found.result()

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

    def _decide(
        self, call: Call, found: CandidateTable, request: RecommendRequest
    ) -> tuple[Scored, select.Selection, Parts]:
        scored = score(call, found)
        with call.stages.stage(select.STAGE):
            chosen = self._choose(call, scored, request)
        return scored, chosen, parts_of(scored, chosen.places)

    def _choose(self, call: Call, scored: Scored, request: RecommendRequest) -> select.Selection:
        if request.explore:
            random = np.random.default_rng()
            return select.explored(scored.scores, request.k, self.settings.exploration_temperature, random)
        strength = self.settings.default_diversity if request.diversity is None else request.diversity
        if strength > 0 and len(scored.scores):
            vectors, _ = call.table.centred(call.table.find(scored.candidates.item_ids))
            chosen = select.diverse(scored.scores, vectors, request.k, strength)
        else:
            chosen = select.by_score(scored.scores, request.k)
        if call.is_pinned:
            return chosen
        every = self.settings.new_item_every
        slots = select.new_item_slots(request.new_item_slots, request.k, every)
        top = max(int(self.settings.new_item_top_share * len(self.live.catalogue)), 1)
        fitting = select.fits(self._new(call, scored.candidates), scored.candidates.ranks.get("aligned_text"), top)
        return select.with_new_items(chosen, fitting, slots, every)

    def _new(self, call: Call, candidates: CandidateTable) -> Mask:
        if call.model is None:
            return candidates.is_new
        return np.asarray(call.model.table.find(candidates.item_ids) < 0)

    async def _results(
        self, call: Call, scored: Scored, chosen: select.Selection, parts: Parts, *, explain: bool
    ) -> list[Result]:
        candidates, title = scored.candidates, self.live.catalogue.title
        item_ids = [candidates.item_ids[place] for place in chosen.places]
        is_new = self._new(call, candidates)[chosen.places] if chosen.places else np.zeros(0, dtype=np.bool_)
        reasons = None
        if explain and item_ids:
            behaviour = await self.reasons.behaviour(call, item_ids)
            reasons = await asyncio.to_thread(explanations, call, item_ids, is_new.tolist(), parts, behaviour, title)
        return await offload(len(item_ids) // RESULTS_PER_ELEMENT, self._built, scored, chosen, parts, is_new, reasons)

    def _built(
        self,
        scored: Scored,
        chosen: select.Selection,
        parts: Parts,
        is_new: Mask,
        reasons: Sequence[Explanation] | None,
    ) -> list[Result]:
        candidates = scored.candidates
        item_ids = [candidates.item_ids[place] for place in chosen.places]
        cf, text = parts.cf, parts.text
        shares = source_shares(candidates, chosen.places)
        return [
            Result(
                item_id=item_id,
                score=float(scored.scores[place]),
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
        )

    def _record(self, call: Call, request: RecommendRequest, answer: Answer, before: int) -> Answer:
        if not answer.results:
            reason = f"the filter leaves nothing of {before} candidates" if before else "there are no candidates"
            return replace(answer, empty_reason=reason)
        if call.is_pinned or request.skip_impressions or not request.question.user_id:
            return answer
        with call.stages.stage("record"):
            tokens = [
                replace(one, attribution_token=token(answer.recommendation_id, one.position)) for one in answer.results
            ]
            self.recorder.put(request.question.user_id, tokens)
        return replace(answer, results=tuple(tokens), stages=merged_times(call.stages.times))
