"""What the contract promises on the wire, with a small model: limits, refusals, streams, bytes."""

from __future__ import annotations

import asyncio
import threading

import grpc
import numpy as np
import pytest
import pytest_asyncio
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as rpc

from services.embedding import convert
from services.embedding.bootstrap import build
from services.embedding.settings import EmbeddingSettings
from shared.rpc.status import error_info
from shared.testing.servers import served, wait_health
from shared.testing.tiny_encoder import HIDDEN, write_tiny_encoder

pytestmark = pytest.mark.asyncio(loop_scope="module")

METHOD = "/fusionrec.embedding.v1.EmbeddingService/"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory):
    folder = write_tiny_encoder(tmp_path_factory.mktemp("model"))
    settings = EmbeddingSettings(port=0, metrics_port=0, model=str(folder), xla_shapes=(), grace_s=20)
    async with served(build(settings), settings, "embedding", ready=False) as running:
        await wait_health(running.channel, timeout_s=240)
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(service):
    return rpc.EmbeddingServiceStub(service.channel)


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value


@pytest.mark.parametrize(
    ("request_", "reason", "field", "value", "limit"),
    [
        (pb.EmbedRequest(), "INVALID_FIELD", "texts", "0 elements", "1..1000 elements"),
        (pb.EmbedRequest(texts=["a"] * 1001), "LIMIT_EXCEEDED", "texts", "1001 elements", "1..1000 elements"),
        (pb.EmbedRequest(texts=["a", "é" * 32_769]), "LIMIT_EXCEEDED", "texts[1]", "", "65536 bytes"),
        (pb.EmbedRequest(texts=["b" * 65_000] * 130), "LIMIT_EXCEEDED", "texts", "8450000 bytes", "8388608 bytes"),
        (pb.EmbedRequest(texts=["word "] * 100_000), "LIMIT_EXCEEDED", "texts", "100000 elements", "1..1000 elements"),
        (pb.EmbedRequest(texts=["film " * 2_097_152]), "LIMIT_EXCEEDED", "texts[0]", "", "65536 bytes"),
        (pb.EmbedRequest(texts=["a"], priority=7), "INVALID_FIELD", "priority", "7", "Priority"),
        (pb.EmbedRequest(texts=["a"], model_version="v" * 129), "LIMIT_EXCEEDED", "model_version", "vvv", "128 bytes"),
    ],
)
async def test_over_the_limits(stub, request_, reason, field, value, limit):
    error = await refusal(stub.Embed(request_))
    info = error_info(error)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (info.reason, info.domain, info.metadata["field"]) == (reason, "fusionrec", field)
    assert value in info.metadata["value"]
    assert limit in info.metadata["limit"]
    assert info.metadata["hint"]


async def test_at_the_limits(stub):
    assert len((await stub.Embed(pb.EmbedRequest(texts=["a"] * 1000))).embeddings) == 1000
    (one,) = (await stub.Embed(pb.EmbedRequest(texts=["é" * 32_768]))).embeddings
    assert one.vector.dim == HIDDEN


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x02\xc3\x28"], ids=["broken bytes", "invalid UTF-8"])
async def test_malformed_request_is_the_callers_fault(service, data):
    call = service.channel.unary_unary(METHOD + "Embed")
    error = await refusal(call(data))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error).reason == "INVALID_FIELD"


async def test_message_over_the_size_limit(service):
    # A channel without a limit of its own, so that it is the server that refuses.
    async with grpc.aio.insecure_channel(service.address, [("grpc.max_send_message_length", -1)]) as channel:
        call = rpc.EmbeddingServiceStub(channel).Embed(pb.EmbedRequest(texts=["a" * (17 * 1024 * 1024)]))
        assert (await refusal(call)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("love\x07 \x1b[31mwar", True),
        ("a film \U0001f3ac\U0001f680 about love", True),
        ("爱情电影", True),
        ("\U0001f469\u200d\U0001f469\u200d\U0001f467", True),
        ("שלום \u202e love", True),
        ("\x00\x01\x02", False),
    ],
    ids=["control characters", "emoji", "Chinese", "joined emoji", "right to left", "nothing but control characters"],
)
async def test_odd_texts_have_a_vector_or_say_why_not(stub, text, read):
    odd, plain = (await stub.Embed(pb.EmbedRequest(texts=[text, "love"]))).embeddings
    assert odd.HasField("vector") == read
    assert odd.HasField("violation") == (not read)
    assert plain.vector.dim == HIDDEN
    if read:
        assert np.isfinite(np.frombuffer(odd.vector.data, "<f4")).all()
        known = await stub.Embed(pb.EmbedRequest(texts=[text + " "]))
        assert known.embeddings[0].unknown_share == odd.unknown_share


async def test_vectors_are_packed_little_endian_float32(stub):
    (one,) = (await stub.Embed(pb.EmbedRequest(texts=["a film about love"]))).embeddings
    assert len(one.vector.data) == 4 * one.vector.dim == 4 * HIDDEN
    assert np.linalg.norm(np.frombuffer(one.vector.data, "<f4")) == pytest.approx(1, abs=1e-5)
    assert not one.HasField("violation")


@pytest.mark.parametrize(("texts", "inline"), [(1, True), (1000, False)])
async def test_large_lists_are_decoded_and_encoded_off_the_event_loop(stub, monkeypatch, texts, inline):
    places = []

    def noted(work):
        def note(*arguments):
            places.append(threading.current_thread() is threading.main_thread())
            return work(*arguments)

        return note

    for name in ("decode_texts", "encode_outcome", "encode_stream_outcome"):
        monkeypatch.setattr(convert, name, noted(getattr(convert, name)))
    assert len((await stub.Embed(pb.EmbedRequest(texts=["a"] * texts))).embeddings) == texts
    request = pb.EmbedStreamRequest(batch_id=1, texts=["a"] * texts)
    assert [one.batch_id async for one in stub.EmbedStream(iter([request]))] == [1]
    assert places == [inline] * 4


def weighted(*texts, weight=1.0):
    return [pb.WeightedText(text=text, weight=weight) for text in texts]


@pytest.mark.parametrize(
    ("request_", "reason", "field", "value", "limit"),
    [
        (pb.AttributeRequest(other="b"), "INVALID_FIELD", "text", "", "1..65536 bytes"),
        (pb.AttributeRequest(text="a"), "INVALID_FIELD", "other", "", "1..65536 bytes"),
        (pb.AttributeRequest(text=" \n", other="b"), "INVALID_FIELD", "text", "", "1..65536 bytes"),
        (pb.AttributeRequest(text="a", other="\u200b"), "INVALID_FIELD", "other", "", "something to read"),
        (pb.AttributeRequest(text="é" * 32_769, other="b"), "LIMIT_EXCEEDED", "text", "", "65536 bytes"),
        (pb.AttributeRequest(text="a", other="b", others=weighted("c")), "INVALID_FIELD", "other", "b", "empty"),
        (pb.AttributeRequest(text="a", others=weighted("b", "")), "INVALID_FIELD", "others[1].text", "", "bytes"),
        (pb.AttributeRequest(text="a", others=weighted("b", "\u200b")), "INVALID_FIELD", "others[1].text", "", "read"),
        (pb.AttributeRequest(text="a", others=weighted(*"b" * 65)), "LIMIT_EXCEEDED", "others", "65 el", "0..64"),
        (
            pb.AttributeRequest(text="a", others=weighted("b", weight=-1)),
            "INVALID_FIELD", "others[0].weight", "-1", "0..1000",
        ),
        (
            pb.AttributeRequest(text="a", others=weighted("b", weight=float("nan"))),
            "INVALID_FIELD", "others[0].weight", "nan", "0..1000",
        ),
        (
            pb.AttributeRequest(text="a", others=weighted(*["b" * 65_000] * 17)),
            "LIMIT_EXCEEDED", "others", "1105000 bytes", "1048576 bytes",
        ),
        (
            pb.AttributeRequest(text="a", others=weighted(*["b " * 99] * 64)),
            "LIMIT_EXCEEDED", "others", "tokens in all", "4096",
        ),
        (
            pb.AttributeRequest(text="a", other="b", attention_layers=[2]),
            "INVALID_FIELD", "attention_layers", "2", "0..1",
        ),
        (
            pb.AttributeRequest(text="a", other="b", attention_layers=range(65)),
            "LIMIT_EXCEEDED", "attention_layers", "65 elements", "0..64",
        ),
    ],
)  # fmt: skip
async def test_attribution_of_bad_input(stub, request_, reason, field, value, limit):
    error = await refusal(stub.Attribute(request_))
    info = error_info(error)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (info.reason, info.metadata["field"]) == (reason, field)
    assert value in info.metadata["value"]
    assert limit in info.metadata["limit"]
    assert info.metadata["hint"]


async def test_attribution_by_a_version_that_is_not_there(stub):
    error = await refusal(stub.Attribute(pb.AttributeRequest(text="a", other="b", model_version="nowhere")))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    info = await stub.GetModelInfo(pb.GetModelInfoRequest())
    answer = await stub.Attribute(pb.AttributeRequest(text="a", other="b", model_version=info.version))
    assert answer.served_by.models[0].version == info.version


async def test_attribution_of_odd_texts(stub):
    texts = ["a\x07film", "😀", "爱", "z" * 5_000, "a " * 32_000]
    answer = await stub.Attribute(pb.AttributeRequest(text="a film", others=weighted(*texts)))
    assert [one.truncated for one in answer.others] == [False, False, False, False, True]
    assert all(one.words for one in answer.others)


async def test_bad_list_ends_a_stream_after_the_answers_before_it(stub):
    async def feed():
        yield pb.EmbedStreamRequest(batch_id=1, texts=["a"])
        yield pb.EmbedStreamRequest(batch_id=2)

    call = stub.EmbedStream(feed())
    assert (await call.read()).batch_id == 1
    error = await refusal(call.read())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error).metadata["field"] == "texts"


async def test_a_version_that_does_not_exist_is_not_found(stub):
    async def feed():
        yield pb.EmbedStreamRequest(batch_id=1, texts=["a"], model_version="gone")

    calls = (
        stub.Embed(pb.EmbedRequest(texts=["a"], model_version="gone")),
        stub.EmbedStream(feed()).read(),
        stub.GetModelInfo(pb.GetModelInfoRequest(model_version="gone")),
    )
    for call in calls:
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert error_info(error).reason == "NOT_FOUND"


async def test_every_method_of_the_contract_is_there(stub):
    methods = pb.DESCRIPTOR.services_by_name["EmbeddingService"].methods_by_name
    assert set(methods) == {"Embed", "EmbedStream", "Attribute", "GetModelInfo"}
    assert (await stub.GetModelInfo(pb.GetModelInfoRequest())).dim == HIDDEN


async def test_vectors_outlive_the_process_in_a_file(tmp_path):
    folder = write_tiny_encoder(tmp_path / "model")
    kept = tmp_path / "vectors.db"
    settings = EmbeddingSettings(port=0, metrics_port=0, model=str(folder), cache_file=str(kept))
    answers = []
    for _ in range(2):
        async with served(build(settings), settings, "embedding", ready=False) as running:
            await wait_health(running.channel, timeout_s=240)
            request = pb.EmbedRequest(texts=["a film about love", "", "war"])
            answers.append((await rpc.EmbeddingServiceStub(running.channel).Embed(request)).embeddings)
    computed, found = answers
    assert [one.cached for one in computed] == [False] * 3
    assert [one.cached for one in found] == [True, False, True]
    assert [one.vector.data for one in found] == [one.vector.data for one in computed]
    assert (found[0].tokens, found[0].unknown_share) == (computed[0].tokens, computed[0].unknown_share)


async def test_a_feed_is_read_ahead_and_answered_in_order(stub):
    taken = []

    async def feed():
        for number in range(12):
            taken.append(number)
            yield pb.EmbedStreamRequest(batch_id=number, texts=[f"love {number} {n}" for n in range(1 + number % 3)])

    answers = [answer async for answer in stub.EmbedStream(feed())]
    assert [answer.batch_id for answer in answers] == taken == list(range(12))
    assert [len(answer.embeddings) for answer in answers] == [1 + number % 3 for number in range(12)]


async def test_idle_stream_does_not_hold_up_the_stop(tmp_path):
    folder = write_tiny_encoder(tmp_path / "model")
    settings = EmbeddingSettings(port=0, metrics_port=0, model=str(folder), xla_shapes=(), grace_s=60)
    async with served(build(settings), settings, "embedding", ready=False) as running:
        await wait_health(running.channel, timeout_s=240)
        call = rpc.EmbeddingServiceStub(running.channel).EmbedStream()
        await call.write(pb.EmbedStreamRequest(batch_id=5, texts=["a"]))
        assert (await call.read()).batch_id == 5
        running.lifecycle.stopping.set()
        async with asyncio.timeout(30):
            error = await refusal(call.read())
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(error).reason == "SHUTTING_DOWN"
