"""Candidates alone, on a small trained version: what goes over the wire is what is tested here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest_asyncio
from fusionrec.candidates.v1 import candidates_service_pb2_grpc as pb_grpc

from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.bootstrap import build
from services.candidates.settings import CandidatesSettings
from services.candidates.sources.hyperparameters import AlsParameters
from services.candidates.training.job import TrainingJob
from shared.artifacts import ArtifactStore
from shared.data.log import LogSnapshot
from shared.data.nouns import Event, EventType, Item
from shared.data.splits import Protocol, Stage
from shared.testing.hashing_embedder import HashingEmbedder
from shared.testing.servers import served


class Silent:
    def update(self, stage, done, total):
        pass


def snapshot():
    start = datetime(2020, 1, 1, tzinfo=UTC)
    events = [
        Event(f"{user}-{item}", f"u{user}", f"i{item}", EventType.LIKE, start + timedelta(days=item))
        for user in range(12)
        for item in range(20)
        if (user + item) % 3 == 0
    ]
    items = {f"i{number}": Item(f"i{number}", f"title {number}", categories=("c",)) for number in range(20)}
    return LogSnapshot(events, items, sequence=260, cursor="")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(tmp_path_factory):
    artifacts = str(tmp_path_factory.mktemp("wire"))
    settings = CandidatesSettings(
        port=0,
        metrics_port=0,
        ingestion_address="127.0.0.1:1",
        embedding_address="127.0.0.1:1",
        artifacts=artifacts,
        settle_s=0,
        grace_s=1,
        als=AlsParameters(factors=4),
    )
    embedder = HashingEmbedder(dim=8)
    store = ArtifactStore(artifacts)
    job = TrainingJob(
        embedder,
        store,
        settings.rules,
        settings.hyperparameters,
        settings.trained_sources,
        2,
        Silent(),
        FaissIndexes(settings.index),
    )
    await job.run(Protocol.WARM, [Stage.SERVING], snapshot())
    async with served(build(settings, embedder), settings, "candidates") as running:
        yield pb_grpc.CandidatesServiceStub(running.channel)
