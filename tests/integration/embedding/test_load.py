"""More work than the real model can do: refusals, cancelled calls, deadlines."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from fusionrec.embedding.v1 import embedding_service_pb2 as pb

from shared.rpc.status import error_info

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def embed_bulk(stub, mark, count=1000, timeout_s=60):
    texts = [f"{mark} number {n}" for n in range(count)]
    return await stub.Embed(pb.EmbedRequest(texts=texts, priority=pb.PRIORITY_BULK), timeout=timeout_s)


def bulk(stub, mark, **options):
    return asyncio.create_task(embed_bulk(stub, mark, **options))


async def cancel(calls):
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def cached(stub, texts):
    return [one.cached for one in (await stub.Embed(pb.EmbedRequest(texts=texts))).embeddings]


async def test_overload_refuses_whole_calls_and_recovers(stub, settings):
    calls = [bulk(stub, f"over {n}") for n in range(settings.queue_texts // 1000 + 4)]
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION, timeout=50)
    refused = [call.exception() for call in done if call.exception()]
    await cancel(calls)
    assert refused
    assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert error_info(refused[0]).reason == "OVERLOADED"
    assert (await stub.Embed(pb.EmbedRequest(texts=["after the rush"]), timeout=60)).embeddings[0].vector.dim == 384


async def test_interactive_call_is_answered_while_bulk_work_waits(stub):
    call = bulk(stub, "slow bulk")
    # The bulk call is in the queue once the server has read it; a first interactive call comes behind it.
    await stub.Embed(pb.EmbedRequest(texts=["somebody waits"]), timeout=60)
    await stub.Embed(pb.EmbedRequest(texts=["somebody waits again"]), timeout=60)
    assert not call.done()
    await cancel([call])


async def test_work_of_expired_and_cancelled_calls_is_dropped(stub):
    occupant = bulk(stub, "occupant")
    await stub.Embed(pb.EmbedRequest(texts=["the occupant is queued now"]), timeout=60)
    with pytest.raises(grpc.aio.AioRpcError) as expired:
        # A thousand texts take many times as long.
        await embed_bulk(stub, "expired", timeout_s=0.05)
    assert expired.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not occupant.done()
    await cancel([occupant])
    # Lists take turns: were the other two still worked on, they would be through before this one of the same length.
    await embed_bulk(stub, "after")
    gone = ["expired number 999", "occupant number 999"]
    assert await cached(stub, gone) == [False] * 2
    assert await cached(stub, gone) == [True] * 2
