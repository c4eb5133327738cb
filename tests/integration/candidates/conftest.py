"""Candidates in this process, next to a real ingestion service, on a small catalogue of three tastes."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import pytest_asyncio
from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.candidates.v1 import candidates_service_pb2_grpc as pb_grpc
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc

from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.adapters.spark_session import spark_session
from services.candidates.bootstrap import build
from services.candidates.index.parameters import IndexParameters
from services.candidates.settings import CandidatesSettings
from services.candidates.sources.hyperparameters import AlsParameters, ItemItemParameters
from services.candidates.training.job import TrainingJob
from services.candidates.training.plan import stages_of
from services.ingestion.bootstrap import build as build_ingestion
from services.ingestion.settings import IngestionSettings
from shared.artifacts import ArtifactStore
from shared.data.nouns import Event, EventType, HistoryEvent, Item
from shared.data.splits import Protocol, Stage
from shared.rpc.convert import encode_event, encode_history, encode_item
from shared.rpc.feed import LogFeed, read_snapshot
from shared.testing.hashing_embedder import HashingEmbedder
from shared.testing.servers import served

TASTES = ("space", "romance", "western")
START = datetime(2020, 1, 1, tzinfo=UTC)
N_USERS, N_ITEMS = 36, 60
FLAT = IndexParameters()


class Silent:
    def update(self, stage, done, total):
        pass


def items():
    return [
        Item(
            f"item-{number}",
            f"{TASTES[number % 3]} story number {number}",
            categories=(TASTES[number % 3],),
            attributes={"year": 1980.0 + number % 30, "colour": ("red", "green")[number % 2]},
        )
        for number in range(N_ITEMS)
    ]


def events():
    rng = np.random.default_rng(4)
    made = []
    for user in range(N_USERS):
        own = [number for number in range(N_ITEMS) if number % 3 == user % 3 or rng.random() < 0.1]
        for step, number in enumerate(rng.permutation(own)[:14].tolist()):
            rating = 5.0 if number % 3 == user % 3 else 2.0
            time = START + timedelta(days=step, seconds=user)
            made.append(Event(f"e-{user}-{step}", f"user-{user}", f"item-{number}", EventType.RATING, time, rating))
    return made


def likes(*item_ids):
    return tuple(HistoryEvent(item_id, EventType.LIKE, START) for item_id in item_ids)


@dataclass
class World:
    """Ingestion, a store of artifacts, and what is needed to start candidates on them."""

    ingestion: ingestion_grpc.IngestionServiceStub
    ingestion_channel: object
    ingestion_address: str
    artifacts: str
    embedder: HashingEmbedder = field(default_factory=HashingEmbedder)

    @property
    def store(self):
        return ArtifactStore(self.artifacts)

    def job(self, keep_versions=2, quotas=None, index=FLAT, embedding_version=""):
        settings = CandidatesSettings(
            als=AlsParameters(factors=8, regularization=1.0), item_item=ItemItemParameters(min_likes=1)
        )
        return TrainingJob(
            self.embedder,
            self.store,
            settings.rules,
            settings.hyperparameters,
            settings.trained_sources,
            keep_versions,
            Silent(),
            FaissIndexes(index),
            quotas,
            embedding_version=embedding_version,
        )

    async def train(self, protocol=Protocol.WARM, stages=(Stage.SERVING,), **options):
        snapshot = await read_snapshot(LogFeed(self.ingestion_channel))
        return await self.job(**options).run(protocol, stages or stages_of(protocol), snapshot)

    async def write_events(self, *made):
        request = ingestion_pb.WriteEventsRequest(events=[encode_event(event) for event in made])
        return await self.ingestion.WriteEvents(request)

    async def write_items(self, *made):
        request = ingestion_pb.UpsertItemsRequest(items=[encode_item(item) for item in made])
        return await self.ingestion.UpsertItems(request)

    @contextlib.asynccontextmanager
    async def candidates(self, *, ready=True, **settings):
        settings = CandidatesSettings(
            port=0,
            metrics_port=0,
            ingestion_address=self.ingestion_address,
            embedding_address="127.0.0.1:1",
            artifacts=self.artifacts,
            artifacts_poll_s=0.05,
            grace_s=1,
            **settings,
        )
        async with served(build(settings, self.embedder), settings, "candidates", ready=ready) as running:
            yield Client(pb_grpc.CandidatesServiceStub(running.channel), running)


@dataclass
class Client:
    """Calls to a candidates service, short to write."""

    stub: pb_grpc.CandidatesServiceStub
    running: object

    async def get(self, user_id="", *, history=None, k=10, **fields):
        encoded = None if history is None else encode_history(history)
        return await self.stub.GetCandidates(pb.GetCandidatesRequest(user_id=user_id, history=encoded, k=k, **fields))

    async def ids(self, user_id="", **fields):
        return [one.item_id for one in (await self.get(user_id, **fields)).candidates]

    async def info(self, version=""):
        return await self.stub.GetIndexInfo(pb.GetIndexInfoRequest(model_version=version))

    async def until(self, holds, timeout_s=20.0):
        """Waits until `await holds()` is true: what the service does by itself, it does within a second."""
        async with asyncio.timeout(timeout_s):
            while not await holds():
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def open_world(folder):
    settings = IngestionSettings(port=0, metrics_port=0, store=f"sqlite:///{folder / 'events.db'}", grace_s=1)
    async with served(build_ingestion(settings), settings, "ingestion") as running:
        stub = ingestion_grpc.IngestionServiceStub(running.channel)
        world = World(stub, running.channel, running.address, str(folder / "artifacts"))
        await world.write_items(*items())
        await world.write_events(*events())
        yield world


@pytest.fixture
async def world(tmp_path):
    """A world of one's own: tests write to it."""
    async with open_world(tmp_path) as world:
        yield world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trained(tmp_path_factory):
    """A world with a trained, running candidates service, shared by the tests of a module: they only read."""
    async with open_world(tmp_path_factory.mktemp("trained")) as world:
        (manifest,) = await world.train()
        async with world.candidates() as client:
            client.version = manifest.version
            client.world = world
            yield client


@pytest.fixture
def liked():
    return likes


@pytest.fixture(scope="module")
def spark():
    """One for all tests of a module: it takes seconds to start."""
    # Compiling well takes longer than all that these tests compute.
    quick = {
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": "-Xss8m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
    }
    with spark_session("local[2]", quick) as session:
        yield session
