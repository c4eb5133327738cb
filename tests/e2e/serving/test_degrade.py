"""Each neighbour killed and started again under an open stream of calls: none fails, each loss is named and passes."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.ranker.degrade import PHASES
from benchmarks.ranker.degrade_stream import Stream
from shared.testing.world import START_S

pytestmark = pytest.mark.slow

PER_SECOND = 10


async def test_neighbours_that_die_under_load_are_named_and_come_back(trained):
    """One after the other and two at once; embedding, which starts slowest, once for both."""
    parts = {name: trained.processes[name] for name in ("ingestion", "embedding", "candidates")}
    users = trained.user_ids[:40]
    began, seen = 0.0, []
    async with Stream(trained.address("ranker"), users, PER_SECOND, deadline_s=60) as stream:

        async def named(wanted):
            # Of calls that begin from now on.
            since = stream.now()
            assert await stream.until(lambda: stream.named_at(wanted, since) is not None, START_S), stream.tail()
            seen.append(wanted)

        try:
            # Each user once: the last known history is that of a user who has asked before.
            assert await stream.until(lambda: len(stream.replies) >= len(users), START_S), stream.tail()
            await named({})
            began = stream.now()
            parts["embedding"].kill9()
            await named(PHASES["embedding"])
            parts["candidates"].kill9()
            await named(PHASES["candidates+embedding"])
            parts["embedding"].start()
            await named(PHASES["candidates"])
            parts["candidates"].start()
            await named({})
            parts["ingestion"].kill9()
            await named(PHASES["ingestion"])
            parts["ingestion"].start()
            await named({})
        finally:
            for part in parts.values():
                if not part.is_running:
                    part.start()
                await asyncio.to_thread(part.wait_ready, START_S)
        since = stream.now()
        assert await stream.until(lambda: stream.calm_at(since) is not None, START_S), stream.tail()
    replies = stream.since(began)
    assert [one for one in replies if one.failure] == []
    assert {name for one in replies for name in one.named} == set(parts)
