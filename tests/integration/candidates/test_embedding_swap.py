"""Embedding swaps to another encoder while calls run: candidates go on with theirs, the next training takes the new."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2 as embedding_pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as embedding_grpc

from services.candidates.adapters.grpc_embedder import GrpcEmbedder
from services.embedding.bootstrap import build
from services.embedding.encoders import bow, tfidf
from services.embedding.settings import EmbeddingSettings
from shared.artifacts import ArtifactStore
from shared.data.nouns import Item
from shared.data.splits import Protocol, Stage
from shared.data.texts import item_text
from shared.errors import ModelMismatch
from shared.testing.servers import served

TASTES = ("space", "romance", "western")
TEXTS = [
    item_text(
        Item(f"i{n}", f"{TASTES[n % 3]} story number {n}", categories=(TASTES[n % 3],), attributes={"year": 1980})
    )
    for n in range(60)
]


@contextlib.asynccontextmanager
async def embedding(folder):
    """Runs an embedding service over a store; yields its channel and what publishes an encoder."""
    bow.fit(TEXTS).save(folder / "base")
    store = ArtifactStore(str(folder / "encoders"))

    def publish(model, **options):
        model.save(folder / model.kind)
        return store.publish("embedding", folder / model.kind, **options).version

    settings = EmbeddingSettings(
        port=0, metrics_port=0, model=str(folder / "base"), artifacts=str(folder / "encoders"), artifacts_poll_s=0.02
    )
    async with served(build(settings), settings, "embedding") as running:
        yield running.channel, publish


async def test_candidates_go_on_while_embedding_swaps_and_the_next_training_takes_the_new_one(world, tmp_path, liked):
    async with embedding(tmp_path) as (channel, publish):
        texts_to_vectors = embedding_grpc.EmbeddingServiceStub(channel)
        world.embedder = GrpcEmbedder(channel)
        first = publish(bow.fit(TEXTS))

        async def current():
            return (await texts_to_vectors.GetModelInfo(embedding_pb.GetModelInfoRequest())).version

        async def swapped(version):
            return await current() == version

        async with asyncio.timeout(20):
            while not await swapped(first):
                await asyncio.sleep(0.02)
        (manifest,) = await world.train()
        assert manifest.lineage == {"embedding": first}
        async with world.candidates() as client:
            done = asyncio.Event()
            seen = set()

            async def ask():
                while not done.is_set():
                    assert await client.ids(history=liked("item-0", "item-3"), k=10)
                    request = pb.GetSimilarItemsRequest(text="a western story", k=3, space="content")
                    answer = await client.stub.GetSimilarItems(request)
                    made_by = {model.kind: model.version for model in answer.served_by.models}
                    seen.add((made_by["candidates"], made_by["embedding"]))
                    vectors = await texts_to_vectors.Embed(embedding_pb.EmbedRequest(texts=["space", "romance"]))
                    assert all(one.HasField("vector") for one in vectors.embeddings)

            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(ask())
                second = publish(tfidf.fit(TEXTS, dim=20))
                await client.until(lambda: swapped(second))
                # A new item gets its vectors from the encoder that the model knows.
                await world.write_items(Item("late", "western story of its own", categories=("western",)))

                async def placed():
                    request = pb.GetSimilarItemsRequest(text="western story of its own", k=1, space="content")
                    answer = await client.stub.GetSimilarItems(request)
                    return [one.item_id for one in answer.items] == ["late"]

                await client.until(placed)
                info = await client.info()
                assert info.embedding_version == first
                assert (
                    info.status_reason
                    == f"embedding {second} is current, this model uses {first}: train anew to use it"
                )
                (trained,) = await world.train()
                assert trained.lineage == {"embedding": second}

                async def adopted():
                    info = await client.info()
                    return (info.embedding_version, info.status_reason) == (second, "")

                await client.until(adopted)

                async def both_answered():
                    return len(seen) == 2

                await client.until(both_answered)
                done.set()
            assert seen == {(manifest.version, first), (trained.version, second)}


def tuned(**labels):
    """Returns what the job of the embedding service says of an encoder that learned from events."""
    return {"encoder": "bow", "method": "head", **labels}


class CountingEmbedder(GrpcEmbedder):
    """Counts the texts that each version embeds."""

    def __init__(self, channel):
        super().__init__(channel)
        self.texts = {}

    async def embed(self, texts, *, urgent, version=""):
        self.texts[version] = self.texts.get(version, 0) + len(texts)
        return await super().embed(texts, urgent=urgent, version=version)


async def test_what_is_measured_is_not_trained_with_an_encoder_that_saw_the_answers(world, tmp_path):
    async with embedding(tmp_path) as (channel, publish):
        world.embedder = CountingEmbedder(channel)
        stub = embedding_grpc.EmbeddingServiceStub(channel)

        async def current():
            return (await stub.GetModelInfo(embedding_pb.GetModelInfoRequest())).version

        async def swapped(version):
            async with asyncio.timeout(20):
                while await current() != version:
                    await asyncio.sleep(0.02)

        async def encoders(*stages, protocol=Protocol.WARM, **options):
            world.embedder.texts = {}
            made = await world.train(protocol, stages, **options)
            used = {}
            for one in made:
                used.setdefault(one.labels["stage"], set()).add(one.lineage["embedding"])
            assert set(world.embedder.texts) == set().union(*used.values())
            # Each encoder that is needed reads the catalogue once.
            assert max(world.embedder.texts.values()) <= 2 * len(TEXTS)
            return {Stage(stage): names.pop() if len(names) == 1 else names for stage, names in used.items()}

        base = await current()
        assert await encoders(Stage.TEST, Stage.SERVING) == dict.fromkeys((Stage.TEST, Stage.SERVING), base)
        serving = publish(
            bow.fit(TEXTS), labels=tuned(protocol="warm", stage="serving"), lineage={"base": base}, make_current=True
        )
        await swapped(serving)
        assert await encoders() == {Stage.FIT: base, Stage.TEST: base, Stage.SERVING: serving}
        # One that was trained on what the protocol shows stands in for it.
        test = publish(
            bow.fit(TEXTS), labels=tuned(protocol="new-items", stage="test"), lineage={"base": base}, make_current=False
        )
        assert await encoders(Stage.TEST, protocol=Protocol.NEW_ITEMS) == {Stage.TEST: test}
        orphan = publish(bow.fit(TEXTS), labels=tuned(method="sessions", protocol="warm", stage="serving"))
        await swapped(orphan)
        before = world.store.versions("candidates")
        with pytest.raises(ModelMismatch, match=r"--protocol warm --stage test.*CANDIDATES_EMBEDDING_VERSION"):
            await world.train(Protocol.WARM, ())
        assert world.store.versions("candidates") == before
        (manifest,) = await world.train()
        assert manifest.lineage == {"embedding": orphan}


async def test_a_training_can_be_told_which_encoder_to_use(world, tmp_path):
    async with embedding(tmp_path) as (channel, publish):
        world.embedder = GrpcEmbedder(channel)
        stub = embedding_grpc.EmbeddingServiceStub(channel)
        base = (await stub.GetModelInfo(embedding_pb.GetModelInfoRequest())).version
        publish(bow.fit(TEXTS[:9]))
        async with asyncio.timeout(20):
            while (await stub.GetModelInfo(embedding_pb.GetModelInfoRequest())).version == base:
                await asyncio.sleep(0.02)
        (manifest,) = await world.train(embedding_version=base)
        assert manifest.lineage == {"embedding": base}
