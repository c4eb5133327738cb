"""Versions of the encoder: swapped while calls run, pinned by callers, refused when damaged."""

from __future__ import annotations

import asyncio
import threading

import grpc
import numpy as np
import pytest
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as rpc

from services.embedding.bootstrap import build
from services.embedding.encoders import bow
from services.embedding.encoders.artifact import MODEL_FOLDER, EncoderDescription, write_description
from services.embedding.settings import EmbeddingSettings
from shared.artifacts import ArtifactStore
from shared.rpc.status import error_info
from shared.testing.servers import health_status, served, wait_health
from shared.testing.tiny_encoder import write_tiny_encoder

KIND = "embedding"
TEXTS = ["space war", "quiet drama", "a film about love"]


class World:
    """A store, an encoder of the settings, and a service on them."""

    def __init__(self, folder):
        self.folder = folder
        self.store = ArtifactStore(str(folder / "artifacts"))
        self.made = 0
        bow.fit(TEXTS).save(folder / "base")

    def publish(self, *texts, make_current=True, **labels):
        """Publishes a bag of words over these texts; returns its version."""
        self.made += 1
        folder = self.folder / f"made-{self.made}"
        bow.fit(texts or TEXTS).save(folder)
        labels = {"encoder": "bow", "method": "fit", **labels}
        return self.store.publish(KIND, folder, labels=labels, make_current=make_current).version

    def publish_bert(self):
        folder = self.folder / "bert"
        write_tiny_encoder(folder / MODEL_FOLDER)
        write_description(folder, EncoderDescription("bert", max_tokens=32))
        return self.store.publish(KIND, folder).version

    def damage(self, version):
        (self.folder / "artifacts" / KIND / version / "terms.safetensors").write_bytes(b"rotten")

    def serve(self, **options):
        settings = EmbeddingSettings(
            port=0,
            metrics_port=0,
            model=str(self.folder / "base"),
            artifacts=str(self.folder / "artifacts"),
            artifacts_poll_s=0.02,
            xla_shapes=((1, 16),),
            **options,
        )
        return served(build(settings), settings, "embedding", ready=False)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


async def embed(service, *texts, version="", timeout_s=60):
    request = pb.EmbedRequest(texts=texts or TEXTS, model_version=version)
    return await rpc.EmbeddingServiceStub(service.channel).Embed(request, timeout=timeout_s, wait_for_ready=True)


async def info(service, version=""):
    return await rpc.EmbeddingServiceStub(service.channel).GetModelInfo(pb.GetModelInfoRequest(model_version=version))


async def until_served(service, version=None):
    """Waits until calls that name no version get this one, or any."""
    await wait_health(service.channel, timeout_s=120)
    async with asyncio.timeout(120):
        while version not in {None, (found := await info(service)).version}:
            await asyncio.sleep(0.02)
        return found


def made_by(response):
    (model,) = response.served_by.models
    return model.version


def vectors_of(response):
    return np.stack([np.frombuffer(one.vector.data, "<f4") for one in response.embeddings])


def batchers():
    return sum(thread.name.startswith("embedding-stream-") for thread in threading.enumerate())


async def test_a_swap_fails_no_call_and_each_reply_is_of_the_version_it_names(world):
    async with world.serve() as service:
        base = (await until_served(service)).version
        replies, done = [], asyncio.Event()

        async def caller(number):
            count = 0
            while not done.is_set():
                count += 1
                # Every other text is new to the cache.
                texts = (*TEXTS, f"space {number} {count}")
                replies.append((texts, await embed(service, *texts)))

        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(caller(number))
            first = world.publish("space war love")
            await until_served(service, first)
            second = world.publish_bert()
            await until_served(service, second)
            before = len(replies)
            while len(replies) < before + 20:
                await asyncio.sleep(0.01)
            done.set()
        assert {made_by(reply) for _, reply in replies} == {base, first, second}
        for version in (base, first, second):
            of_it = [one for one in replies if made_by(one[1]) == version]
            for texts, reply in (of_it[0], of_it[-1]):
                again = await embed(service, *texts, version=version)
                assert made_by(again) == version
                np.testing.assert_allclose(vectors_of(reply), vectors_of(again), atol=1e-5)


async def test_pinned_versions_go_on_after_a_swap(world):
    async with world.serve() as service:
        base = (await until_served(service)).version
        before = await embed(service)
        version = world.publish("space war", protocol="warm", stage="serving")
        await until_served(service, version)
        pinned = await embed(service, version=base)
        assert made_by(pinned) == base
        assert [one.cached for one in pinned.embeddings] == [True] * 3
        np.testing.assert_array_equal(vectors_of(pinned), vectors_of(before))
        assert [one.cached for one in (await embed(service)).embeddings] == [False] * 3

        async def feed():
            yield pb.EmbedStreamRequest(batch_id=1, texts=["space"], model_version=base)
            yield pb.EmbedStreamRequest(batch_id=2, texts=["space"])

        stream = rpc.EmbeddingServiceStub(service.channel).EmbedStream(feed())
        assert [made_by(answer) async for answer in stream] == [base, version]
        found = await info(service)
        assert (found.version, found.kind, found.dim, found.status_reason) == (version, "bow", 2, "")
        assert [(one.version, one.is_current) for one in found.versions] == [(version, True), (base, False)]
        assert dict(found.versions[0].labels) == {
            "encoder": "bow", "method": "fit", "protocol": "warm", "stage": "serving",
        }  # fmt: skip
        assert dict(found.versions[1].labels) == {"origin": "base"}
        assert (await info(service, base)).dim == 8


async def test_versions_are_loaded_on_demand_and_few_stay(world):
    names = [world.publish(f"space war number{n}", make_current=n == 3) for n in range(4)]
    others = batchers()
    async with world.serve(loaded_versions=1, streams=1) as service:
        await until_served(service, names[3])
        started = batchers() - others
        assert started > 0
        for _ in range(2):
            for name in names:
                assert made_by(await embed(service, version=name)) == name
        # The base was not needed, and is there when it is asked for.
        base = (await info(service)).versions[-1].version
        assert made_by(await embed(service, version=base)) == base
        async with asyncio.timeout(10):
            # Those of the current version and of the last one asked for.
            while batchers() - others > 2 * started:
                await asyncio.sleep(0.02)


async def test_unknown_versions_are_refused_by_name(world):
    async with world.serve() as service:
        await until_served(service)
        for name in ("20260101T000000000000-00000000", "../secrets", "CURRENT"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await embed(service, version=name)
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
            assert error_info(refused.value).reason == "NOT_FOUND"
            assert "GetModelInfo" in refused.value.details()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await embed(service, version="v" * 200)
        assert error_info(refused.value).reason == "LIMIT_EXCEEDED"


async def test_without_artifacts_only_the_base_can_be_asked_for(world):
    settings = EmbeddingSettings(port=0, metrics_port=0, model=str(world.folder / "base"))
    async with served(build(settings), settings, "embedding", ready=False) as service:
        base = (await until_served(service)).version
        assert made_by(await embed(service, version=base)) == base
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await embed(service, version="another")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert base in refused.value.details()


async def test_a_damaged_version_is_refused_and_the_last_good_one_stays(world):
    good = world.publish("space war")
    async with world.serve() as service:
        await until_served(service, good)
        bad = world.publish("space love", make_current=False)
        world.damage(bad)
        world.store.set_current(KIND, bad)
        async with asyncio.timeout(30):
            while "fails its checksum" not in (await info(service)).status_reason:
                await asyncio.sleep(0.02)
        assert made_by(await embed(service)) == good
        assert await health_status(service.channel) == "SERVING"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await embed(service, version=bad)
        assert refused.value.code() is grpc.StatusCode.DATA_LOSS
        newer = world.publish("space drama")
        assert (await until_served(service, newer)).status_reason == ""


async def test_an_artifact_of_an_unknown_kind_is_refused_with_its_reason(world):
    good = world.publish("space war")
    async with world.serve() as service:
        await until_served(service, good)
        folder = world.folder / "other"
        folder.mkdir()
        (folder / "encoder.json").write_text('{"kind": "elmo"}')
        world.store.publish(KIND, folder)
        async with asyncio.timeout(30):
            while "kind 'elmo'" not in (await info(service)).status_reason:
                await asyncio.sleep(0.02)
        assert made_by(await embed(service)) == good


async def test_a_damaged_current_version_at_the_start_is_no_reason_to_serve_other_vectors(world):
    bad = world.publish("space war")
    world.damage(bad)
    async with world.serve() as service:
        async with asyncio.timeout(30):
            while "fails its checksum" not in service.lifecycle.reason:
                await asyncio.sleep(0.02)
        assert await health_status(service.channel) == "NOT_SERVING"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await embed(service)
        assert error_info(refused.value).reason == "MODEL_NOT_READY"
        good = world.publish("space drama")
        await until_served(service, good)
        assert await health_status(service.channel) == "SERVING"


async def test_rolling_back_serves_the_version_before(world):
    first, second = world.publish("space war"), world.publish("space love")
    async with world.serve() as service:
        await until_served(service, second)
        world.store.set_current(KIND, first)
        await until_served(service, first)
        assert made_by(await embed(service, version=second)) == second
