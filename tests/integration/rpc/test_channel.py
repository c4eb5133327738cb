"""The channel helper: retries what did no work, and nothing else; finds a server again that comes back."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from fusionrec.channel import connect, connect_aio
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as pb_grpc

from shared.errors import Reason
from shared.rpc.client import open_channel
from shared.testing.probe import EXAMPLES
from shared.testing.processes import free_port
from shared.testing.servers import served


class Flaky(pb_grpc.EmbeddingServiceServicer):
    """Refuses the first `failures` calls with `reason`, then answers; counts all."""

    service_names = ("fusionrec.embedding.v1.EmbeddingService",)

    def __init__(self, reason: Reason = Reason.INTERNAL, failures: int = 0) -> None:
        self.reason = reason
        self.failures = failures
        self.calls = 0

    def register(self, server) -> None:
        pb_grpc.add_EmbeddingServiceServicer_to_server(self, server)

    async def start(self, lifecycle) -> None:
        await lifecycle.ready()

    async def stop(self) -> None:
        pass

    async def Embed(self, request, context):  # noqa: N802, ARG002 (the contract's name, gRPC's signature)
        self.calls += 1
        if self.calls <= self.failures:
            raise EXAMPLES[self.reason]
        return pb.EmbedResponse()


@pytest.mark.parametrize("opened", [connect_aio, open_channel])
@pytest.mark.parametrize("reason", [Reason.SHUTTING_DOWN, Reason.DEPENDENCY_UNAVAILABLE])
async def test_unavailable_is_tried_three_times(settings, opened, reason):
    app = Flaky(reason, failures=2)
    async with served(app, settings, "probe") as server, opened(server.address) as channel:
        await pb_grpc.EmbeddingServiceStub(channel).Embed(pb.EmbedRequest(), timeout=20)
    assert app.calls == 3


async def test_more_than_three_times_it_is_not_tried(settings):
    app = Flaky(Reason.SHUTTING_DOWN, failures=3)
    async with served(app, settings, "probe") as server, connect_aio(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pb_grpc.EmbeddingServiceStub(channel).Embed(pb.EmbedRequest(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert app.calls == 3


@pytest.mark.parametrize(
    "reason", [reason for reason in Reason if reason not in {Reason.SHUTTING_DOWN, Reason.DEPENDENCY_UNAVAILABLE}]
)
async def test_nothing_else_is_tried_again(settings, reason):
    app = Flaky(reason, failures=1)
    async with served(app, settings, "probe") as server, connect_aio(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await pb_grpc.EmbeddingServiceStub(channel).Embed(pb.EmbedRequest(), timeout=20)
    assert app.calls == 1


async def test_the_blocking_channel_calls_as_well(settings):
    app = Flaky(Reason.SHUTTING_DOWN, failures=1)
    async with served(app, settings, "probe") as server:

        def call() -> None:
            with connect(server.address) as channel:
                pb_grpc.EmbeddingServiceStub(channel).Embed(pb.EmbedRequest(), timeout=20)

        await asyncio.to_thread(call)
    assert app.calls == 2


async def test_a_server_that_comes_back_is_found_by_the_same_channel(settings):
    settings = settings.model_copy(update={"port": free_port()})
    async with open_channel(f"127.0.0.1:{settings.port}") as channel:
        stub = pb_grpc.EmbeddingServiceStub(channel)
        for _ in range(3):
            async with served(Flaky(), settings, "probe"):
                # Far below the minute of gRPC's own backoff.
                await stub.Embed(pb.EmbedRequest(), timeout=15, wait_for_ready=True)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Embed(pb.EmbedRequest(), timeout=15)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
