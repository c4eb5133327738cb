"""Users like a user: GetSimilarUsers over the wire, live and after erasure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb

from shared.data.nouns import Event, EventType
from shared.rpc.convert import encode_history
from shared.rpc.status import error_info

NOW = datetime(2021, 1, 1, tzinfo=UTC)
pytestmark = pytest.mark.asyncio(loop_scope="module")


def ask(user_id="", **fields):
    return pb.GetSimilarUsersRequest(user_id=user_id, k=fields.pop("k", 10), **fields)


async def test_neighbours_share_the_taste(trained):
    answer = await trained.stub.GetSimilarUsers(ask("user-4"))
    ids = [one.user_id for one in answer.users]
    assert len(ids) == 10
    assert "user-4" not in ids
    assert all(int(user_id.removeprefix("user-")) % 3 == 1 for user_id in ids[:5])
    similarities = [one.similarity for one in answer.users]
    assert similarities == sorted(similarities, reverse=True)
    assert 0 < similarities[-1] <= similarities[0] <= 1 + 1e-5
    assert answer.served_by.models[0].version == trained.version


async def test_an_explicit_history_has_neighbours_too(trained, liked):
    history = encode_history(liked("item-2", "item-5", "item-8"))
    answer = await trained.stub.GetSimilarUsers(ask(history=history, k=5))
    assert all(int(one.user_id.removeprefix("user-")) % 3 == 2 for one in answer.users)


async def test_nobody_is_like_one_who_likes_nothing(trained):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await trained.stub.GetSimilarUsers(ask("nobody"))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("k", [0, -1, 1_001])
async def test_k_has_limits(trained, k):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await trained.stub.GetSimilarUsers(ask("user-4", k=k))
    assert error_info(error.value).metadata["field"] == "k"


@pytest.mark.asyncio(loop_scope="function")
async def test_a_new_user_becomes_a_neighbour_and_a_forgotten_one_is_none(world):
    await world.train()
    async with world.candidates() as client:
        for number, item in enumerate((1, 4, 7, 10, 13)):
            time = NOW + timedelta(seconds=number)
            await world.write_events(Event(f"n{number}", "newcomer", f"item-{item}", EventType.LIKE, time))

        async def ids():
            return [one.user_id for one in (await client.stub.GetSimilarUsers(ask("user-4", k=50))).users]

        async def found():
            return "newcomer" in await ids()

        async def gone():
            return not {"newcomer", "user-7"} & set(await ids())

        assert "user-7" in await ids()
        await client.until(found)
        for user in ("newcomer", "user-7"):
            await world.ingestion.ForgetUser(ingestion_pb.ForgetUserRequest(user_id=user))
        await client.until(gone)
    # After a restart, too: the log says it again.
    async with world.candidates() as client:
        await client.until(gone)
