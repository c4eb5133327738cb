"""The composition root of the ranker's training job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.ranker.bootstrap import Neighbours
from services.ranker.training.job import TrainingJob
from shared.artifacts import ArtifactStore
from shared.rpc.feed import read_snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ranker.fusion.base import FitContext
    from services.ranker.settings import RankerSettings
    from shared.artifacts import Manifest
    from shared.data.log import LogSnapshot
    from shared.data.splits import Protocol


async def train(
    settings: RankerSettings, protocol: Protocol, fusions: Sequence[str], context: FitContext, *, warm_start: bool
) -> list[Manifest]:
    """Runs the training job; see `TrainingJob.run`."""
    near = Neighbours.connect(settings)

    async def snapshot(sequence: int) -> LogSnapshot:
        return await read_snapshot(near.feed, up_to=sequence)

    try:
        store = ArtifactStore(settings.artifacts)
        job = TrainingJob(settings, near.candidates, near.embedding, snapshot, store, context, near.impressions)
        return await job.run(protocol, fusions, warm_start=warm_start)
    finally:
        await near.close()
