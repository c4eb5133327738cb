"""Bytes on the wire that no generated client would send, and the contract as a stranger finds it."""

from __future__ import annotations

import grpc
import pytest
from fusionrec.channel import MAX_MESSAGE_BYTES
from fusionrec.common.v1 import event_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.ingestion.bootstrap import build
from services.ingestion.settings import IngestionSettings
from shared.rpc.status import error_info
from shared.testing.servers import served

SERVICE = "fusionrec.ingestion.v1.IngestionService"


@pytest.fixture
async def address(tmp_path):
    settings = IngestionSettings(port=0, metrics_port=0, store=f"sqlite:///{tmp_path}/events.db")
    async with served(build(settings), settings, "ingestion") as service:
        yield service.address


@pytest.fixture
async def channel(address):
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield channel


async def send(channel, method, data):
    return await channel.unary_unary(f"/{SERVICE}/{method}")(data, timeout=20)


def field(number, data):
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


INVALID_UTF8 = b"\xff\xfeabc"


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("WriteEvents", field(1, field(2, INVALID_UTF8))),
        ("UpsertItems", field(1, field(2, INVALID_UTF8))),
        ("DeleteItem", field(1, INVALID_UTF8)),
        ("GetItems", field(1, INVALID_UTF8)),
        ("GetUserHistory", field(1, INVALID_UTF8)),
        ("WriteEvents", b"\x0a\x7f"),
        ("WriteEvents", b"\xff\xff\xff"),
    ],
)
async def test_bytes_that_are_no_message_are_the_clients_fault(channel, method, data):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(channel, method, data)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    info = error_info(caught.value)
    assert (info.reason, info.domain) == ("INVALID_FIELD", "fusionrec")
    assert "UTF-8" in info.metadata["hint"]


async def test_bytes_that_are_no_message_end_a_stream_the_same_way(channel):
    calls = [
        channel.unary_stream(f"/{SERVICE}/ReadEvents")(field(1, INVALID_UTF8), timeout=20),
        channel.stream_stream(f"/{SERVICE}/StreamEvents")(iter([field(2, field(2, INVALID_UTF8))]), timeout=20),
    ]
    for call in calls:
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_message_over_the_size_limit_is_refused_and_the_server_lives(channel):
    request = pb.WriteEventsRequest(
        events=[event_pb2.Event(user_id="u", item_id="i", type=5, text="x" * 17_000) for _ in range(1000)]
    )
    assert request.ByteSize() > MAX_MESSAGE_BYTES
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(channel, "WriteEvents", request.SerializeToString())
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(MAX_MESSAGE_BYTES) in caught.value.details()
    stats = pb.GetStatsResponse.FromString(await send(channel, "GetStats", b""))
    assert stats.events == 0


async def test_fields_of_a_newer_client_are_ignored(channel):
    event = event_pb2.Event(event_id="e", user_id="u", item_id="i", type=2).SerializeToString()
    data = field(1, event + b"\xf2\x3f\x03new") + b"\xf2\x3f\x03new"
    answer = pb.WriteEventsResponse.FromString(await send(channel, "WriteEvents", data))
    assert [(result.status, result.id) for result in answer.results] == [(1, "e")]


async def test_every_rpc_of_the_contract_is_served(channel):
    """Whatever an RPC answers to an empty request, it is not UNIMPLEMENTED."""
    for method in pb.DESCRIPTOR.services_by_name["IngestionService"].methods:
        path = f"/{SERVICE}/{method.name}"
        if method.client_streaming:
            call = channel.stream_stream(path)(iter([b""]), timeout=20)
        elif method.server_streaming:
            call = channel.unary_stream(path)(b"", timeout=20)
            assert await call.read() != grpc.aio.EOF
            assert await call.read() == grpc.aio.EOF
        else:
            call = channel.unary_unary(path)(b"", timeout=20)
        assert await call.code() in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}, method.name


async def test_reflection_shows_the_service(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)
    answers = [one async for one in stub.ServerReflectionInfo(iter([request]))]
    assert answers[0].file_descriptor_response.file_descriptor_proto


async def test_the_request_id_of_the_caller_is_in_the_reply(channel):
    call = channel.unary_unary(f"/{SERVICE}/GetStats")(b"", metadata=[("x-request-id", "my-id")])
    assert pb.GetStatsResponse.FromString(await call).served_by.request_id == "my-id"
