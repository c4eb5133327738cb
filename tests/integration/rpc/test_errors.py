"""Every reason on the wire: status, ErrorInfo, BadRequest, RetryInfo; and nothing that a caller must not read."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as pb_grpc
from fusionrec.ingestion.v1 import ingestion_service_pb2 as log_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as log_pb_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from shared import errors
from shared.data.limits import MAX_MESSAGE_BYTES
from shared.errors import Reason
from shared.rpc.client import call, stream
from shared.testing.probe import EXAMPLES, ProbeApp
from shared.testing.servers import served

STATUS = {
    Reason.INVALID_FIELD: "INVALID_ARGUMENT",
    Reason.LIMIT_EXCEEDED: "INVALID_ARGUMENT",
    Reason.NOT_FOUND: "NOT_FOUND",
    Reason.MODEL_NOT_READY: "FAILED_PRECONDITION",
    Reason.MODEL_MISMATCH: "FAILED_PRECONDITION",
    Reason.OVERLOADED: "RESOURCE_EXHAUSTED",
    Reason.DEPENDENCY_UNAVAILABLE: "UNAVAILABLE",
    Reason.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    Reason.NOT_SERVED_YET: "UNIMPLEMENTED",
    Reason.CORRUPT_DATA: "DATA_LOSS",
    Reason.SHUTTING_DOWN: "UNAVAILABLE",
    Reason.INTERNAL: "INTERNAL",
    Reason.STALE_CURSOR: "ABORTED",
}


@pytest.fixture
async def channel(settings):
    async with served(ProbeApp(), settings, "probe") as server:
        yield server.channel


@pytest.fixture
def stub(channel):
    return pb_grpc.EmbeddingServiceStub(channel)


async def failure(awaitable) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


def details_of(error: grpc.aio.AioRpcError) -> dict[type, object]:
    status = rpc_status.from_call(_AsCall(error))
    found = {}
    for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
        for packed in status.details:
            message = kind()
            if packed.Unpack(message):
                found[kind] = message
    return found


class _AsCall:
    """grpc_status reads calls; AioRpcError has the same three facts."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code, self.details, self._metadata = error.code, error.details, error.trailing_metadata()

    def trailing_metadata(self):
        return list(self._metadata)


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.name)
async def test_every_reason_reaches_the_caller(stub, reason):
    metadata = (("x-request-id", "caller-1"),)
    error = await failure(stub.Embed(pb.EmbedRequest(texts=[f"raise {reason.name}"]), metadata=metadata))

    assert error.code().name == STATUS[reason]
    found = details_of(error)
    info = found[error_details_pb2.ErrorInfo]
    assert (info.reason, info.domain) == (reason.name, "fusionrec")
    assert info.metadata["request_id"] == "caller-1"
    assert dict(error.trailing_metadata())["x-request-id"] == "caller-1"
    if reason is not Reason.INTERNAL:
        assert error.details() == EXAMPLES[reason].message
        for key, value in EXAMPLES[reason].metadata.items():
            assert info.metadata[key] == value
    assert (error_details_pb2.BadRequest in found) == (reason in {Reason.INVALID_FIELD, Reason.LIMIT_EXCEEDED})
    assert (error_details_pb2.RetryInfo in found) == (reason is Reason.OVERLOADED)


async def test_a_field_error_names_field_value_limit_and_hint(stub):
    error = await failure(stub.Embed(pb.EmbedRequest(texts=["raise LIMIT_EXCEEDED"])))
    found = details_of(error)
    info = found[error_details_pb2.ErrorInfo]
    assert {key: info.metadata[key] for key in ("field", "value", "limit", "hint")} == {
        "field": "k",
        "value": "9000",
        "limit": "1..2000",
        "hint": "use a value from 1 to 2000",
    }
    (violation,) = found[error_details_pb2.BadRequest].field_violations
    assert (violation.field, violation.reason) == ("k", "LIMIT_EXCEEDED")
    assert "1..2000" in violation.description


async def test_retry_info_tells_when(stub):
    error = await failure(stub.Embed(pb.EmbedRequest(texts=["raise OVERLOADED"])))
    delay = details_of(error)[error_details_pb2.RetryInfo].retry_delay
    assert (delay.seconds, delay.nanos) == (0, 250_000_000)


@pytest.mark.parametrize("command", ["crash /var/secret/path of another user", "raise INTERNAL"])
async def test_a_defect_shows_nothing_but_the_request_id(stub, command):
    error = await failure(stub.Embed(pb.EmbedRequest(texts=[command]), metadata=(("x-request-id", "caller-2"),)))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == "internal error; the server's log has it under request id caller-2"
    everything = repr(error.trailing_metadata()) + repr(error) + str(details_of(error))
    assert "secret" not in everything
    assert "ValueError" not in everything


async def test_a_server_stream_that_raises_between_messages(channel):
    messages = log_pb_grpc.IngestionServiceStub(channel).ReadEvents(log_pb.ReadEventsRequest(cursor="raise NOT_FOUND"))
    assert (await messages.read()).cursor == "1"
    error = await failure(messages.read())
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert details_of(error)[error_details_pb2.ErrorInfo].reason == "NOT_FOUND"


async def test_a_bidi_stream_that_crashes_between_messages(stub):
    feed = stub.EmbedStream()
    await feed.write(pb.EmbedStreamRequest(batch_id=1, texts=["left"]))
    assert (await feed.read()).batch_id == 1
    await feed.write(pb.EmbedStreamRequest(batch_id=2, texts=["crash secret"]))
    error = await failure(feed.read())
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()


def raw(channel, path="/fusionrec.embedding.v1.EmbeddingService/Embed"):
    return channel.unary_unary(path)


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"], ids=["tag", "cut", "invalid utf-8"]
)
async def test_malformed_bytes_are_the_callers_fault(channel, data):
    error = await failure(raw(channel)(data))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    info = details_of(error)[error_details_pb2.ErrorInfo]
    assert (info.reason, info.metadata["field"]) == ("INVALID_FIELD", "request")


async def test_malformed_bytes_inside_a_stream(channel):
    feed = channel.stream_stream("/fusionrec.embedding.v1.EmbeddingService/EmbedStream")()
    await feed.write(pb.EmbedStreamRequest(batch_id=1).SerializeToString())
    assert pb.EmbedStreamResponse.FromString(await feed.read()).batch_id == 1
    await feed.write(b"\xff\xff\xff")
    assert (await failure(feed.read())).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_message_over_the_limit_is_resource_exhausted_and_one_below_is_not(settings):
    wide = [("grpc.max_send_message_length", -1)]
    async with (
        served(ProbeApp(), settings, "probe") as server,
        grpc.aio.insecure_channel(server.address, options=wide) as channel,
    ):
        fits = pb.EmbedRequest(texts=["x" * (MAX_MESSAGE_BYTES - 64)]).SerializeToString()
        over = pb.EmbedRequest(texts=["x" * (MAX_MESSAGE_BYTES + 1)]).SerializeToString()
        await raw(channel)(fits)
        error = await failure(raw(channel)(over))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert str(MAX_MESSAGE_BYTES) in error.details()


async def test_an_unknown_method_is_unimplemented(channel):
    error = await failure(raw(channel, "/fusionrec.embedding.v1.EmbeddingService/Nothing")(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


COMES_BACK = {
    Reason.INVALID_FIELD: errors.InvalidField,
    Reason.LIMIT_EXCEEDED: errors.LimitExceeded,
    Reason.NOT_FOUND: errors.NotFound,
    Reason.MODEL_NOT_READY: errors.ModelNotReady,
    Reason.MODEL_MISMATCH: errors.ModelMismatch,
    Reason.CORRUPT_DATA: errors.CorruptData,
    Reason.STALE_CURSOR: errors.StaleCursor,
}


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.name)
async def test_a_neighbours_error_comes_back_as_a_domain_error(stub, reason):
    with pytest.raises(errors.FusionrecError) as caught:
        await call(stub.Embed(pb.EmbedRequest(texts=[f"raise {reason.name}"])), "embedding")
    assert type(caught.value) is COMES_BACK.get(reason, errors.DependencyUnavailable)
    if reason in COMES_BACK:
        assert caught.value.message == EXAMPLES[reason].message
    else:
        assert caught.value.component == "embedding"


async def test_a_stream_of_a_neighbour_that_fails_raises_the_domain_error(channel):
    request = log_pb.ReadEventsRequest(cursor="raise STALE_CURSOR")
    messages = stream(log_pb_grpc.IngestionServiceStub(channel).ReadEvents(request), "ingestion")
    assert (await anext(messages)).cursor == "1"
    with pytest.raises(errors.StaleCursor):
        await anext(messages)


async def test_a_neighbour_that_is_not_there_is_named(settings):
    async with served(ProbeApp("127.0.0.1:1"), settings, "probe") as server:
        stub = pb_grpc.EmbeddingServiceStub(server.channel)
        error = await failure(stub.Embed(pb.EmbedRequest(texts=["hop", "left"]), timeout=10))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert details_of(error)[error_details_pb2.ErrorInfo].metadata["component"] == "probe"
