"""A batch that fails leaves nothing running."""

from __future__ import annotations

import asyncio

import pytest

from services.candidates.queries import CandidateQuery
from services.candidates.service import CandidatesService
from services.candidates.workers import Workers
from shared.data.preferences import PreferenceRules
from shared.errors import DependencyUnavailable


class WaitingVersions:
    def __init__(self):
        self.running, self.ended = 0, 0

    async def get(self, name):
        if name == "fails":
            while self.running < 2:
                await asyncio.sleep(0)
            raise DependencyUnavailable("ingestion", "it does not answer")
        self.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1


async def test_the_first_failure_ends_the_other_queries_and_is_the_answer():
    versions, workers = WaitingVersions(), Workers(1, "test")
    service = CandidatesService(
        versions=versions, finder=None, histories=None, embedder=None, rules=PreferenceRules(), workers=workers
    )
    queries = [CandidateQuery("u", None, 1, model_version=name) for name in ("waits", "fails", "waits too")]
    with pytest.raises(DependencyUnavailable):
        await service.batch_get_candidates(queries)
    assert (versions.running, versions.ended) == (2, 2)
    workers.close()
