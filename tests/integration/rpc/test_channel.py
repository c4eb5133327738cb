"""The channel helper: retries what did no work, and nothing else; finds a server again that comes back."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import grpc.aio
import pytest
from fusionrec.channel import channel_options, connect, connect_aio
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as pb_grpc
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc

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


class Silent(ingestion_grpc.IngestionServiceServicer):
    """Does what it is asked and loses every reply; counts the calls."""

    service_names = ("fusionrec.ingestion.v1.IngestionService",)

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def register(self, server) -> None:
        ingestion_grpc.add_IngestionServiceServicer_to_server(self, server)

    async def start(self, lifecycle) -> None:
        await lifecycle.ready()

    async def stop(self) -> None:
        pass

    async def WriteEvents(self, request, context):  # noqa: N802, ARG002 (the contract's name, gRPC's signature)
        self.calls["WriteEvents"] += 1
        raise EXAMPLES[Reason.SHUTTING_DOWN]

    async def StreamEvents(self, request_iterator, context):  # noqa: N802, ARG002 (as above)
        async for _ in request_iterator:
            self.calls["StreamEvents"] += 1
            raise EXAMPLES[Reason.SHUTTING_DOWN]
        yield ingestion_pb.StreamEventsResponse()

    async def UpsertItems(self, request, context):  # noqa: N802, ARG002 (as above)
        self.calls["UpsertItems"] += 1
        raise EXAMPLES[Reason.SHUTTING_DOWN]


ATTEMPTS = [(connect_aio, 3), (open_channel, 2)]
"""Attempts of the client at the edge, and of a service that calls a neighbour: on several hops they multiply."""


@pytest.mark.parametrize(("opened", "attempts"), ATTEMPTS)
@pytest.mark.parametrize("reason", [Reason.SHUTTING_DOWN, Reason.DEPENDENCY_UNAVAILABLE])
async def test_unavailable_is_tried_again(settings, opened, attempts, reason):
    app = Flaky(reason, failures=attempts - 1)
    async with served(app, settings, "probe") as server, opened(server.address) as channel:
        await pb_grpc.EmbeddingServiceStub(channel).Embed(pb.EmbedRequest(), timeout=20)
    assert app.calls == attempts


@pytest.mark.parametrize(("opened", "attempts"), ATTEMPTS)
async def test_more_often_it_is_not_tried(settings, opened, attempts):
    app = Flaky(Reason.SHUTTING_DOWN, failures=attempts)
    async with served(app, settings, "probe") as server, opened(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pb_grpc.EmbeddingServiceStub(channel).Embed(pb.EmbedRequest(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert app.calls == attempts


@pytest.mark.parametrize("opened", [connect_aio, open_channel])
async def test_what_would_store_an_event_twice_is_not_tried_again(settings, opened):
    app = Silent()
    async with served(app, settings, "probe") as server, opened(server.address) as channel:
        stub = ingestion_grpc.IngestionServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.WriteEvents(ingestion_pb.WriteEventsRequest(), timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError):
            await anext(aiter(stub.StreamEvents(iter([ingestion_pb.StreamEventsRequest()]), timeout=20)))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.UpsertItems(ingestion_pb.UpsertItemsRequest(), timeout=20)
    assert app.calls["WriteEvents"] == 1
    assert app.calls["StreamEvents"] == 1
    assert app.calls["UpsertItems"] > 1  # the same item twice is the same state


def test_an_idle_connection_is_kept_alive():
    options = dict(channel_options())
    assert options["grpc.keepalive_permit_without_calls"] == 1
    # The server's own limit: below it, it would close the connection.
    assert options["grpc.keepalive_time_ms"] >= 10_000


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
