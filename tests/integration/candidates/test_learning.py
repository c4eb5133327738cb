"""What likes teach about an item that came after the training, and what quotas say, over the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.training.quotas import QuotaLearner
from shared.data.nouns import Event, EventType, Item
from shared.data.preferences import PreferenceRules
from shared.data.splits import Stage
from shared.rpc.status import error_info

NOW = datetime(2021, 1, 1, tzinfo=UTC)
SPACE = tuple(f"item-{number}" for number in range(0, 30, 3))


def like(user, item, kind=EventType.LIKE, second=0):
    return Event(f"{user}-{item}-{kind}", user, item, kind, NOW + timedelta(seconds=second))


async def test_likes_teach_als_where_a_new_item_belongs(world, liked):
    await world.train()
    async with world.candidates(answer_age_s=0, answer_age_unwritten_s=0) as client:
        # What is written says western; those who take it up love space.
        await world.write_items(Item("misfiled", "western story", categories=("western",)))

        async def score():
            answer = await client.get(history=liked(*SPACE), score_item_ids=["misfiled"], sources=["als"])
            return [one.score for one in answer.candidates[0].evidence]

        async def listed():
            return (await client.info()).catalogue_items == 61

        async def learned():
            return bool(await score())

        await client.until(listed)
        assert await score() == []
        fans = [f"user-{number}" for number in range(0, 36, 3)]
        await world.write_events(*(like(fan, "misfiled") for fan in fans))
        await client.until(learned)

        async def near():
            answer = await client.stub.GetSimilarItems(pb.GetSimilarItemsRequest(item_id="misfiled", k=5))
            return sum(int(one.item_id.removeprefix("item-")) % 3 == 0 for one in answer.items) >= 4

        await client.until(near)
        await world.write_events(*(like(fan, "misfiled", EventType.DISLIKE, 60) for fan in fans[1:]))
        await world.ingestion.ForgetUser(ingestion_pb.ForgetUserRequest(user_id=fans[0]))

        async def back():
            return not await near()

        await client.until(back)


async def test_quotas_are_learned_with_the_folds_and_asked_for_by_name(world):
    learner = QuotaLearner(FlatIndex, ("als", "user_knn", "popular"), PreferenceRules())
    await world.train(stages=(Stage.FIT, Stage.SERVING), quotas=learner)
    async with world.candidates() as client:
        assert (await client.info()).has_quotas
        answer = await client.get("user-4", k=12, merge_method=pb.MERGE_METHOD_QUOTAS)
        assert answer.merge_method == pb.MERGE_METHOD_QUOTAS
        scores = [one.score for one in answer.candidates]
        assert len(scores) == 12
        assert scores == sorted(scores, reverse=True)
        usual = await client.get("user-4", k=12)
        assert usual.merge_method == pb.MERGE_METHOD_RECIPROCAL_RANK


async def test_quotas_that_were_not_learned_are_refused(trained_alone):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await trained_alone.get("user-4", merge_method=pb.MERGE_METHOD_QUOTAS)
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(error.value).reason == "MODEL_MISMATCH"
    assert "CANDIDATES_LEARN_QUOTAS" in error.value.details()


@pytest.fixture
async def trained_alone(world):
    await world.train()
    async with world.candidates() as client:
        yield client
