"""Reviews are evidence of what an item is: from training on, live, and gone with who wrote them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.common.v1 import vector_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.index.parameters import IndexParameters
from services.candidates.versions.files import open_version
from services.candidates.versions.version import KIND
from shared.data.item_evidence import mixed
from shared.data.nouns import Event, EventType, Item
from shared.data.splits import Protocol, Stage
from shared.testing.hashing_embedder import HashingEmbedder

FLAT = IndexParameters()
TEXT = "long words about ships"


@pytest.fixture
async def client(world):
    await world.write_items(Item("described", "quiet tale", text=TEXT), Item("bare", ""))
    await world.write_events(review("item-1", "harbour", user="early"), review("item-1", "lighthouse", user="user-2"))
    await world.train()
    async with world.candidates(answer_age_s=0, answer_age_unwritten_s=0) as client:
        yield client


def review(item, text, user="critic"):
    return Event(f"{user}-{item}-{text}", user, item, EventType.REVIEW, datetime.now(UTC), 2.0, text)


async def vector_of(text):
    return (await HashingEmbedder().embed([text], urgent=True)).vectors[0]


async def expected(text, *reviews):
    own = await vector_of(text) if text else None
    said = [await vector_of(one) for one in reviews]
    return mixed(own, np.stack(said) if said else np.empty((0, 32), np.float32))


async def cosine(client, item, vector):
    """Returns the cosine of an item's content vector and `vector`; 0 when the item has none."""
    message = vector_pb2.Vector(data=vector.astype("<f4").tobytes(), dim=len(vector))
    request = pb.GetSimilarItemsRequest(vector=message, k=80, space="content")
    found = {one.item_id: one.similarity for one in (await client.stub.GetSimilarItems(request)).items}
    return found.get(item, 0.0)


async def becomes(client, item, vector):
    async def is_so():
        return await cosine(client, item, vector) > 0.9999

    await client.until(is_so)


ITEM_1 = "romance story number 1 (1981). romance"


async def test_what_was_reviewed_before_the_training_is_in_the_vector(client):
    await becomes(client, "item-1", await expected(ITEM_1, "harbour", "lighthouse"))


async def test_a_review_moves_the_item_and_keeps_its_own_text(client, world):
    # A version on disk has no texts of items: what the item says itself must come from its vector.
    await world.write_events(review("described", "whales"))
    await becomes(client, "described", await expected(f"quiet tale. {TEXT}", "whales"))
    await world.write_events(review("item-1", "harbour", "critic"))
    await becomes(client, "item-1", await expected(ITEM_1, "harbour", "lighthouse", "harbour"))
    await world.write_items(Item("described", "loud tale"))
    await becomes(client, "described", await expected("loud tale", "whales"))


async def test_an_item_without_a_text_is_found_by_its_reviews(client, world):
    assert await cosine(client, "bare", await vector_of("whales")) == 0.0
    await world.write_events(review("bare", "whales"))
    await becomes(client, "bare", await vector_of("whales"))


async def test_a_forgotten_users_reviews_leave_the_vectors(client, world):
    await world.write_events(review("described", "whales"), review("described", "sharks", "other"))
    await becomes(client, "described", await expected(f"quiet tale. {TEXT}", "whales", "sharks"))
    for user in ("critic", "other", "early"):
        await world.ingestion.ForgetUser(ingestion_pb.ForgetUserRequest(user_id=user))
    await becomes(client, "described", await expected(f"quiet tale. {TEXT}"))
    await becomes(client, "item-1", await expected(ITEM_1, "lighthouse"))


async def test_an_item_that_comes_back_has_no_reviews(client, world):
    await world.write_events(review("described", "whales"))
    await becomes(client, "described", await expected(f"quiet tale. {TEXT}", "whales"))
    await world.ingestion.DeleteItem(ingestion_pb.DeleteItemRequest(item_id="described"))
    await world.write_items(Item("described", "quiet tale", text=TEXT))
    await becomes(client, "described", await expected(f"quiet tale. {TEXT}"))


async def test_a_version_reads_the_reviews_among_its_own_events_only(world):
    # The newest event of a user is what the test stage hides.
    await world.write_events(review("item-2", "secret", user="user-0"))
    manifests = await world.train(Protocol.WARM, (Stage.TEST, Stage.SERVING))
    for manifest in manifests:
        with_it = manifest.labels["stage"] == "serving"
        folder = world.store.load(KIND, manifest.version).folder
        texts = (folder / "reviews.json").read_text() if (folder / "reviews.json").exists() else "{}"
        assert ("secret" in json.dumps(json.loads(texts))) is with_it
        version = open_version(world.store.load(KIND, manifest.version), FlatIndex, FaissIndexes(FLAT))
        row = version.table.rows["item-2"]
        wanted = await expected("western story number 2 (1982). western", *(["secret"] if with_it else []))
        assert version.spaces.similar["content"].vectors(np.array([row]))[0] @ wanted > 0.9999
