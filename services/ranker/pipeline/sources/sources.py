"""What could be recommended: one call to candidates, or what stands in for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.ranker.pipeline.call import CF_ONLY, FULL_FUSION, POPULAR, TEXT_ONLY
from services.ranker.pipeline.sources.fallback import nearest, popular
from shared.errors import CorruptData, DependencyUnavailable, ModelMismatch, ModelNotReady, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.ranker.nouns import CandidateQuery, CandidateTable
    from services.ranker.pipeline.call import Call
    from services.ranker.pipeline.timeouts import Timeouts
    from services.ranker.ports import CandidateFinder

STAGE = "sources"
COMPONENT = "candidates"


class Sources:
    """Asks candidates; knows the order of fall-backs."""

    def __init__(self, finder: CandidateFinder, timeouts: Timeouts) -> None:
        self._finder = finder
        self._timeouts = timeouts

    async def find(self, call: Call, query: CandidateQuery) -> CandidateTable | None:
        """Returns candidates with evidence; None when the service cannot answer, which is noted as degradation.

        Raises:
            ModelMismatch: the question names a ranker version whose candidates version is not served any more.

        """
        with call.stages.stage(STAGE):
            try:
                found = await self._finder.find(query, self._timeouts.candidates())
            except (DependencyUnavailable, ModelNotReady) as error:
                call.degrade(COMPONENT, error.message, POPULAR)
                return None
            except (NotFound, CorruptData, ModelMismatch) as error:
                # The caller has never named a candidates version: what is wrong with one is told as the ranker's own.
                if query.model_version:
                    raise _unfit(call, query.model_version, error.message) from error
                call.degrade(COMPONENT, error.message, POPULAR)
                return None
        for source, reason in found.failed.items():
            call.degrade(f"source:{source}", reason or "it gave no reason", FULL_FUSION)
        return found

    def fall_back(self, call: Call, count: int, allowed: Callable[[str], bool]) -> CandidateTable:
        """Returns what the ranker knows by itself, best first: near to the text profile, else popular.

        Raises:
            DependencyUnavailable: it knows nothing either.

        """
        with call.stages.stage(STAGE):
            reason = call.degraded[COMPONENT].reason
            found = nearest(call.table, call.texts, count, allowed)
            fallback = TEXT_ONLY if found.item_ids else POPULAR
            if not found.item_ids:
                found = popular(call.table, count, allowed)
        if not found.item_ids and not len(call.table.popularity.positives):
            raise DependencyUnavailable(COMPONENT, f"{reason}; and the ranker has read no events to fall back on")
        call.degrade(COMPONENT, reason, fallback)
        embedding = call.degraded.get("embedding")
        if embedding is not None and embedding.fallback == CF_ONLY:
            call.degrade("embedding", embedding.reason, fallback)
        return found


def _unfit(call: Call, candidates_version: str, reason: str) -> ModelMismatch:
    return ModelMismatch(
        f"ranker {call.question.model_version} was published for candidates {candidates_version}, which cannot be "
        f"used any more ({reason}); ask for a newer version, or for none"
    )
