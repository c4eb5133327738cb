"""Deadlines, request ids and admission, over real hops."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as pb_grpc
from fusionrec.ingestion.v1 import ingestion_service_pb2 as log_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as log_pb_grpc
from prometheus_client import REGISTRY

from shared.errors import Reason
from shared.rpc import context
from shared.rpc.status import error_info
from shared.testing.probe import ProbeApp
from shared.testing.servers import health_status, served


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def count(code: str) -> float:
    labels = {"service": "probe", "method": "/fusionrec.embedding.v1.EmbeddingService/Embed", "code": code}
    return REGISTRY.get_sample_value("fusionrec_rpc_seconds_count", labels) or 0.0


@contextlib.asynccontextmanager
async def two_hops(settings):
    async with (
        served(ProbeApp(), settings, "probe") as second,
        served(ProbeApp(second.address), settings, "probe") as first,
    ):
        yield pb_grpc.EmbeddingServiceStub(first.channel)


def lefts(answer) -> list[int]:
    return [timing.compute_us for timing in answer.served_by.timings if timing.stage == "left"]


async def test_the_second_hop_has_less_time_than_the_first(settings):
    async with two_hops(settings) as stub:
        answer = await stub.Embed(pb.EmbedRequest(texts=["left", "hop", "left"]), timeout=20)
    first, second = lefts(answer)
    # At least the margin is kept back; the rest is what the hop took.
    assert second <= first - 5_000
    assert 0 < second < 20e6


async def test_without_a_deadline_the_default_holds_and_travels(settings):
    async with two_hops(settings.model_copy(update={"default_timeout_s": 12.0})) as stub:
        answer = await stub.Embed(pb.EmbedRequest(texts=["left", "hop", "left"]))
    first, second = lefts(answer)
    assert second < first <= 12e6


async def test_the_request_id_is_the_same_on_every_hop(settings):
    async with two_hops(settings) as stub:
        call = stub.Embed(pb.EmbedRequest(texts=["hop", "left"]), metadata=(("x-request-id", "abc-1"),))
        answer = await call
        assert answer.served_by.request_id == "abc-1"
        assert "request_id abc-1" in [timing.stage for timing in answer.served_by.timings]


@pytest.mark.parametrize("given", ["", "with space", "x" * 129, "{injected}"])
async def test_an_unsafe_request_id_is_replaced(settings, given):
    async with served(ProbeApp(), settings, "probe") as server:
        stub = pb_grpc.EmbeddingServiceStub(server.channel)
        answer = await stub.Embed(pb.EmbedRequest(texts=["left"]), metadata=(("x-request-id", given),))
    assert len(answer.served_by.request_id) == 32


async def test_streams_hand_on_the_request_id_and_have_no_default_deadline(settings):
    async with served(ProbeApp(), settings, "probe") as server:
        feed = pb_grpc.EmbeddingServiceStub(server.channel).EmbedStream(metadata=(("x-request-id", "abc-2"),))
        await feed.write(pb.EmbedStreamRequest(texts=["left"]))
        answer = await feed.read()
        assert lefts(answer) == [-1]
        assert answer.served_by.request_id == "abc-2"
        await feed.done_writing()


async def test_channels_hand_on_the_context_on_every_kind_of_call(settings):
    async with served(ProbeApp(), settings, "probe") as server:
        # In a task of its own, as a server's handler is.
        await asyncio.create_task(play_handler(server.channel))


async def play_handler(channel) -> None:
    context.set_request_id("abc-3")
    context.set_deadline(9.0)
    stub = pb_grpc.EmbeddingServiceStub(channel)
    unary = await stub.Embed(pb.EmbedRequest(texts=["left"]))
    feed = stub.EmbedStream(iter([pb.EmbedStreamRequest(texts=["left"])]))
    (streamed,) = [message async for message in feed]
    for answer in (unary, streamed):
        assert answer.served_by.request_id == "abc-3"
        assert 0 < lefts(answer)[0] < 9e6
    own = await stub.Embed(pb.EmbedRequest(texts=["left"]), timeout=2, metadata=(("x-request-id", "own"),))
    assert own.served_by.request_id == "own"
    assert 0 < lefts(own)[0] < 3e6

    context.set_deadline(0.0)
    messages = log_pb_grpc.IngestionServiceStub(channel).ReadEvents(log_pb.ReadEventsRequest(cursor="sleep 5"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _drain(messages)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def _drain(messages) -> None:
    async for _ in messages:
        pass


async def test_a_call_without_a_deadline_ends_at_the_default(settings):
    async with served(ProbeApp(), settings.model_copy(update={"default_timeout_s": 0.2}), "probe") as server:
        stub = pb_grpc.EmbeddingServiceStub(server.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Embed(pb.EmbedRequest(texts=["sleep 60"]))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert error_info(caught.value).reason == Reason.DEADLINE_EXCEEDED.name
        assert "0.2 s" in caught.value.details()


async def test_the_callers_deadline_ends_the_work(settings):
    app = ProbeApp()
    before = count("DEADLINE_EXCEEDED")
    async with served(app, settings, "probe") as server:
        stub = pb_grpc.EmbeddingServiceStub(server.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Embed(pb.EmbedRequest(texts=["sleep 60"]), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: app.running == 0)
        assert count("DEADLINE_EXCEEDED") == before + 1


async def test_a_full_server_refuses_by_name_and_stays_healthy(settings):
    app = ProbeApp()
    async with served(app, settings.model_copy(update={"max_concurrent_rpcs": 2}), "probe") as server:
        stub = pb_grpc.EmbeddingServiceStub(server.channel)
        holding = [stub.Embed(pb.EmbedRequest(texts=["sleep 60"])) for _ in range(2)]
        waiting = [asyncio.ensure_future(one.code()) for one in holding]
        await until(lambda: app.running == 2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Embed(pb.EmbedRequest(texts=["left"]))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error_info(caught.value).reason == "OVERLOADED"
        assert await health_status(server.channel) == "SERVING"

        # Callers that leave give their permits back.
        for one in holding:
            one.cancel()
        assert await asyncio.gather(*waiting) == [grpc.StatusCode.CANCELLED] * 2
        await until(lambda: app.running == 0)
        await stub.Embed(pb.EmbedRequest(texts=["left"]))


async def test_abandoned_streams_give_their_permits_back(settings):
    app = ProbeApp()
    async with served(app, settings.model_copy(update={"max_streams": 2}), "probe") as server:
        stub = log_pb_grpc.IngestionServiceStub(server.channel)
        for _ in range(5):
            pair = [stub.ReadEvents(log_pb.ReadEventsRequest(follow=True)) for _ in range(2)]
            for messages in pair:
                assert (await messages.read()).cursor == "1"
            refused = stub.ReadEvents(log_pb.ReadEventsRequest())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await refused.read()
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "2 streams" in caught.value.details()
            for messages in pair:
                messages.cancel()
            await until(lambda: app.running == 0)


@pytest.mark.parametrize("leave", ["cancel", "close"])
async def test_a_stream_that_nobody_reads_gives_its_permit_back(settings, leave):
    """The window is full: when the caller leaves, the handler hangs in the send, not in its own code."""
    app = ProbeApp()
    async with served(app, settings.model_copy(update={"max_streams": 1}), "probe") as server:
        channel = grpc.aio.insecure_channel(server.address)
        flood = log_pb_grpc.IngestionServiceStub(channel).ReadEvents(log_pb.ReadEventsRequest(cursor="flood"))
        await flood.read()
        assert app.running == 1
        if leave == "cancel":
            flood.cancel()
        await channel.close()
        await until(lambda: app.running == 0)
        again = log_pb_grpc.IngestionServiceStub(server.channel).ReadEvents(log_pb.ReadEventsRequest())
        assert (await again.read()).cursor == "1"


async def test_calls_are_counted_by_method_and_code(settings):
    before = {code: count(code) for code in ("OK", "NOT_FOUND", "INTERNAL")}
    async with served(ProbeApp(), settings, "probe") as server:
        stub = pb_grpc.EmbeddingServiceStub(server.channel)
        await stub.Embed(pb.EmbedRequest(texts=["left"]))
        for command in ("raise NOT_FOUND", "crash x"):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Embed(pb.EmbedRequest(texts=[command]))
    assert {code: count(code) - before[code] for code in before} == {"OK": 1, "NOT_FOUND": 1, "INTERNAL": 1}
