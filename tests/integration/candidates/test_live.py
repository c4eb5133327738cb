"""What happens between two trainings: events and items arrive, and the next answer knows."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
import pytest
from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.common.v1 import serving_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from google.protobuf.timestamp_pb2 import Timestamp

from services.ingestion.bootstrap import build as build_ingestion
from services.ingestion.settings import IngestionSettings
from shared.data.nouns import Event, EventType, Item
from shared.testing.servers import served


@pytest.fixture
async def client(world):
    (manifest,) = await world.train()
    # Every answer is computed; `test_kept_answers.py` has those that are given again.
    async with world.candidates(answer_age_s=0, answer_age_unwritten_s=0) as client:
        client.version = manifest.version
        yield client


def like(user, item, name=""):
    return Event(f"{user}-{item}{name}", user, item, EventType.LIKE, datetime.now(UTC))


async def similar(client, item_id, k=10, space="cf"):
    answer = await client.stub.GetSimilarItems(pb.GetSimilarItemsRequest(item_id=item_id, k=k, space=space))
    return [one.item_id for one in answer.items]


async def test_a_new_event_moves_the_next_answer(client, world):
    before = await client.get("newcomer", k=10)
    assert before.temperature == serving_pb2.USER_TEMPERATURE_COLD
    await world.write_events(like("newcomer", "item-4"))

    async def knows():
        answer = await client.get("newcomer", k=10)
        return answer.temperature == serving_pb2.USER_TEMPERATURE_WARM

    await client.until(knows)
    after = await client.ids("newcomer", k=10)
    assert "item-4" not in after
    assert sum(int(item_id.split("-")[1]) % 3 == 1 for item_id in after[:6]) >= 5


async def test_a_new_item_is_recommended_to_who_it_fits(client, world, liked):
    await world.write_items(Item("fresh", "space story never seen"))

    async def found():
        return "fresh" in await client.ids(history=liked("item-0", "item-3", "item-6"), k=15, sources=["aligned_text"])

    await client.until(found)
    fitting = await client.get(history=liked("item-0", "item-3"), k=60)
    other = await client.get(history=liked("item-1", "item-4"), k=61)
    score = {
        name: {e.source: e.score for c in answer.candidates if c.item_id == "fresh" for e in c.evidence}
        for name, answer in (("fitting", fitting), ("other", other))
    }
    assert score["fitting"]["aligned_text"] > score["other"]["aligned_text"]
    assert "als" not in score["fitting"]
    assert next(one for one in fitting.candidates if one.item_id == "fresh").is_new
    assert not next(one for one in fitting.candidates if one.item_id == "item-9").is_new
    info = await client.info()
    items = dict.fromkeys(("cf", "content", "als", "aligned_text"), 1)
    assert {one.space: one.added_live for one in info.indexes} == {**items, "user_knn": 0}
    assert info.model_version == client.version


async def test_a_new_item_has_a_place_among_many_new_ones_and_short_lists(world, liked):
    await world.train()
    # Lists of five are full of the items of the genre that have likes, which fit better than any new one.
    async with world.candidates(per_source=5, answer_age_s=0, answer_age_unwritten_s=0) as client:
        others = [Item(f"other-{number}", f"western story {number} more") for number in range(40)]
        await world.write_items(*others, Item("fresh", "space western story"))

        async def placed():
            return "fresh" in await client.ids(history=liked("item-0", "item-3", "item-6"), k=10)

        await client.until(placed)


async def test_a_changed_item_is_mapped_anew(client, world):
    assert all(int(one.split("-")[1]) % 3 == 0 for one in (await similar(client, "item-3", 5, "content")))
    await world.write_items(Item("item-3", "western story rewritten", categories=("western",)))

    async def moved():
        return all(int(one.split("-")[1]) % 3 == 2 for one in await similar(client, "item-3", 5, "content"))

    await client.until(moved)


async def test_a_deleted_item_leaves_every_list_and_stays_away(client, world, liked):
    assert "item-6" in await client.ids(history=liked("item-0"), k=60)
    await world.ingestion.DeleteItem(ingestion_pb.DeleteItemRequest(item_id="item-6"))

    async def gone(of=client):
        return "item-6" not in await of.ids(history=liked("item-0"), k=60)

    await client.until(gone)
    assert "item-6" not in await similar(client, "item-0", 60)
    assert {one.vectors for one in (await client.info()).indexes if one.space != "user_knn"} == {59}
    assert not (await client.get(history=liked("item-0"), score_item_ids=["item-6"])).candidates[0].evidence
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await similar(client, "item-6")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    async with world.candidates() as restarted:
        assert await gone(restarted)
        await world.write_items(Item("item-6", "space story number 6", categories=("space",)))

        async def back():
            return not await gone(restarted)

        await restarted.until(back)


async def test_without_embedding_an_item_is_mapped_from_its_attributes_and_later_from_its_text(client, world, liked):
    world.embedder.is_down = True
    await world.write_items(
        Item("bare", "a story", categories=("western",), attributes={"year": 1990.0}), Item("blank", "untold story")
    )

    async def mapped():
        return "bare" in await client.ids(history=liked("item-2", "item-5"), k=60, sources=["aligned_text"])

    await client.until(mapped)
    assert "blank" not in await client.ids(history=liked("item-2", "item-5"), k=62, sources=["aligned_text"])
    assert "wait for their text vectors" in (await client.info()).status_reason
    world.embedder.is_down = False

    async def healed():
        return not (await client.info()).status_reason

    await client.until(healed)
    assert "blank" in await client.ids(history=liked("item-2", "item-5"), k=62, sources=["aligned_text"])
    assert "bare" in await similar(client, "blank", 62, "content")


async def test_an_embedding_of_another_version_is_not_mixed_in(client, world, liked):
    world.embedder.version = "hashing-2"
    await world.write_items(Item("odd", "space story", categories=("space",)))

    async def told():
        return "train anew" in (await client.info()).status_reason

    await client.until(told)
    assert "odd" in await client.ids(history=liked("item-0"), k=61, sources=["aligned_text"])
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await client.stub.GetSimilarItems(pb.GetSimilarItemsRequest(text="space", k=3))
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_popularity_is_counted_live(client, world):
    await world.write_events(*(like(f"fan-{number}", "item-57") for number in range(40)))

    async def leads():
        return (await client.ids("nobody", k=1)) == ["item-57"]

    await client.until(leads)


async def test_a_forgotten_user_is_cold(client, world):
    assert (await client.get("user-1")).temperature == serving_pb2.USER_TEMPERATURE_HOT
    await world.ingestion.ForgetUser(ingestion_pb.ForgetUserRequest(user_id="user-1"))

    async def cold():
        return (await client.get("user-1")).temperature == serving_pb2.USER_TEMPERATURE_COLD

    await client.until(cold)


async def test_a_pinned_version_knows_nothing_of_what_came_later(client, world, liked):
    pinned = {"history": liked("item-0"), "k": 62, "model_version": client.version}
    before = await client.get(**pinned)
    await world.write_items(Item("fresh", "space story never seen"))
    await world.ingestion.DeleteItem(ingestion_pb.DeleteItemRequest(item_id="item-6"))
    await world.write_events(*(like(f"fan-{number}", "item-57") for number in range(40)))

    async def live_knows():
        ids = await client.ids("nobody", k=62)
        return ids[0] == "item-57" and "fresh" in ids and "item-6" not in ids

    await client.until(live_knows)
    after = await client.get(**pinned)
    assert list(after.candidates) == list(before.candidates)


async def test_events_of_items_not_there_yet_count_when_they_arrive(client, world):
    await world.write_events(*(like(f"fan-{number}", "awaited") for number in range(40)))
    await world.write_items(Item("awaited", "long awaited"))

    async def leads():
        return (await client.ids("nobody", k=1)) == ["awaited"]

    await client.until(leads)


async def test_a_replaced_log_is_read_anew(world, liked, tmp_path):
    await world.train()
    settings = IngestionSettings(port=0, metrics_port=0, store=f"sqlite:///{tmp_path / 'other.db'}", grace_s=1)
    async with served(build_ingestion(settings), settings, "ingestion") as other:
        first = world.ingestion_address
        world.ingestion_address = other.address
        async with world.candidates() as client:
            assert await client.ids(history=liked("item-0"), k=5) == []
            assert (await client.info()).catalogue_items == 0
        world.ingestion_address = first


async def test_with_ingestion_away_the_snapshot_answers(world, liked):
    await world.train()
    world.ingestion_address = "127.0.0.1:1"
    async with world.candidates(settle_s=0.2) as client:
        assert len(await client.ids(history=liked("item-0"), k=5)) == 5
        assert "has not been read" in (await client.info()).status_reason
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.get("user-1")
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_availability_follows_the_time_of_the_question(client, world):
    item = Item(
        "later", "space story of tomorrow", categories=("space",), available_from=datetime(2100, 1, 1, tzinfo=UTC)
    )
    await world.write_items(item)

    async def knows():
        return (await client.info()).catalogue_items == 61

    await client.until(knows)
    then = Timestamp(seconds=int(datetime(2101, 1, 1, tzinfo=UTC).timestamp()))
    assert "later" not in await client.ids("nobody", k=61)
    assert "later" in await client.ids("nobody", k=61, as_of=then)
