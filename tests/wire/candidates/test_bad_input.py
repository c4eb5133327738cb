"""Every bad request is refused by name: field, value, limit, remedy."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.common.v1 import event_pb2, item_pb2, vector_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from shared.rpc.status import error_info

pytestmark = pytest.mark.asyncio(loop_scope="module")

GET, BATCH, SIMILAR = pb.GetCandidatesRequest, pb.BatchGetCandidatesRequest, pb.GetSimilarItemsRequest


def event(**fields):
    return event_pb2.HistoryEvent(**{"item_id": "i1", "type": event_pb2.EVENT_TYPE_LIKE, **fields})


def history(*events):
    return event_pb2.History(events=events)


def vector(values):
    array = np.array(values, "<f4")
    return vector_pb2.Vector(data=array.tobytes(), dim=len(array))


def number_rule(name="year"):
    return item_pb2.AttributeRule(name=name, range=item_pb2.NumberRange(min=1))


CASES = [
    (GET(k=5), "user_id", "INVALID_FIELD", "non-empty id"),
    (GET(user_id="u", k=0), "k", "INVALID_FIELD", "1..2000"),
    (GET(user_id="u", k=-1), "k", "INVALID_FIELD", "1..2000"),
    (GET(user_id="u", k=2_001), "k", "LIMIT_EXCEEDED", "1..2000"),
    (GET(user_id="x" * 257, k=5), "user_id", "LIMIT_EXCEEDED", "257 bytes"),
    (GET(user_id="a\nb", k=5), "user_id", "INVALID_FIELD", "control"),
    (
        GET(history=history(), k=5, sources=["als", "magic"]),
        "sources[1]",
        "INVALID_FIELD",
        "als, als_tried, item_item, item_knn, user_knn, sequential, aligned_text, content, popular, trending, random",
    ),
    (GET(history=history(), k=5, sources=["als"] * 33), "sources", "LIMIT_EXCEEDED", "32"),
    (GET(history=history(event(item_id="")), k=5), "history.events[0].item_id", "INVALID_FIELD", "non-empty"),
    (GET(history=history(event(type=0)), k=5), "history.events[0].type", "INVALID_FIELD", "RATING"),
    (
        GET(history=history(event(type=event_pb2.EVENT_TYPE_RATING)), k=5),
        "history.events[0].value",
        "INVALID_FIELD",
        "rating",
    ),
    (
        GET(history=history(event(type=event_pb2.EVENT_TYPE_RATING, value=float("nan"))), k=5),
        "history.events[0].value",
        "INVALID_FIELD",
        "finite",
    ),
    (GET(history=history(*[event()] * 1_001), k=5), "history.events", "LIMIT_EXCEEDED", "1000"),
    (
        GET(history=history(), k=5, filter=item_pb2.ItemFilter(exclude_item_ids=["x"] * 10_001)),
        "filter.exclude_item_ids",
        "LIMIT_EXCEEDED",
        "10000",
    ),
    (
        GET(history=history(), k=5, filter=item_pb2.ItemFilter(categories_any=["c"] * 65)),
        "filter.categories_any",
        "LIMIT_EXCEEDED",
        "64",
    ),
    (
        GET(history=history(), k=5, filter=item_pb2.ItemFilter(attributes=[number_rule()] * 17)),
        "filter.attributes",
        "LIMIT_EXCEEDED",
        "16",
    ),
    (
        GET(history=history(), k=5, filter=item_pb2.ItemFilter(attributes=[number_rule("")])),
        "filter.attributes[0].name",
        "INVALID_FIELD",
        "non-empty",
    ),
    (GET(history=history(), k=5, seen_policy=9), "seen_policy", "INVALID_FIELD", "HIDE_ALL_SEEN"),
    (GET(history=history(), score_item_ids=["x"] * 2_001), "score_item_ids", "LIMIT_EXCEEDED", "2000"),
    (GET(history=history(), score_item_ids=["x", ""]), "score_item_ids[1]", "INVALID_FIELD", "non-empty"),
    (GET(history=history(), k=5, as_of=Timestamp(seconds=10**15)), "as_of", "INVALID_FIELD", "seconds since 1970"),
    (BATCH(), "requests", "INVALID_FIELD", "1..256"),
    (BATCH(requests=[GET(user_id="u", k=1)] * 257), "requests", "LIMIT_EXCEEDED", "256"),
    (BATCH(requests=[GET(user_id="u", k=2_000)] * 11), "requests", "LIMIT_EXCEEDED", "20000"),
    (BATCH(requests=[GET(user_id="u", k=1), GET(user_id="u")]), "requests[1].k", "INVALID_FIELD", "1..2000"),
    (SIMILAR(k=5), "query", "INVALID_FIELD", "item_id, vector, text"),
    (SIMILAR(item_id="i1", k=0), "k", "INVALID_FIELD", "1..1000"),
    (SIMILAR(item_id="i1", k=1_001), "k", "LIMIT_EXCEEDED", "1..1000"),
    (SIMILAR(item_id="", k=5), "item_id", "INVALID_FIELD", "non-empty"),
    (SIMILAR(item_id="i1", k=5, space="galaxy"), "space", "INVALID_FIELD", "cf, content"),
    (SIMILAR(text="  ", k=5), "text", "INVALID_FIELD", "non-empty"),
    (SIMILAR(text="?!", k=5), "text", "INVALID_FIELD", "words"),
    (SIMILAR(text="x" * 65_537, k=5), "text", "LIMIT_EXCEEDED", "65536"),
    (SIMILAR(vector=vector([1, 2, 3]), k=5), "vector.dim", "INVALID_FIELD", "4, the dimension of cf"),
    (SIMILAR(vector=vector([1, 2, 3, 4]), k=5, space="content"), "vector.dim", "INVALID_FIELD", "8, the dimension"),
    (SIMILAR(vector=vector([0, 0, 0, 0]), k=5), "vector.data", "INVALID_FIELD", "direction"),
    (SIMILAR(vector=vector([1e-45, 0, 0, 0]), k=5), "vector.data", "INVALID_FIELD", "direction"),
    (SIMILAR(vector=vector([3e38, 3e38, 0, 0]), k=5), "vector.data", "INVALID_FIELD", "direction"),
    (SIMILAR(vector=vector([1, float("nan"), 0, 0]), k=5), "vector.data", "INVALID_FIELD", "finite"),
    (SIMILAR(vector=vector_pb2.Vector(data=b"123", dim=4), k=5), "vector.data", "INVALID_FIELD", "16 bytes"),
    (SIMILAR(vector=vector_pb2.Vector(dim=0), k=5), "vector.dim", "INVALID_FIELD", "1..4096"),
    (pb.GetIndexInfoRequest(model_version="v" * 257), "model_version", "LIMIT_EXCEEDED", "256"),
]


def call(stub, request):
    name = type(request).__name__.removesuffix("Request")
    return getattr(stub, name)(request)


@pytest.mark.parametrize(("request_", "field", "reason", "says"), CASES, ids=lambda one: str(one)[:40])
async def test_refused_by_name(stub, request_, field, reason, says):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call(stub, request_)
    info = error_info(error.value)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (info.reason, info.metadata["field"]) == (reason, field)
    assert says in error.value.details()


@pytest.mark.parametrize(
    "request_",
    [
        GET(history=history(), k=5, model_version="20200101T000000000000-00000000"),
        GET(history=history(), k=5, model_version=".."),
        SIMILAR(item_id="nothing", k=5),
        SIMILAR(item_id="i1", k=5, model_version="none"),
        pb.GetIndexInfoRequest(model_version="none"),
    ],
    ids=["version", "path", "item", "similar version", "info version"],
)
async def test_what_does_not_exist_is_not_found(stub, request_):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call(stub, request_)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(error.value).reason == "NOT_FOUND"


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e22, 1e30])
async def test_the_length_of_a_vector_does_not_matter(stub, scale):
    plain = await stub.GetSimilarItems(SIMILAR(vector=vector([1, -2, 3, 0.5]), k=20))
    scaled = await stub.GetSimilarItems(SIMILAR(vector=vector([scale * x for x in (1, -2, 3, 0.5)]), k=20))
    assert [one.item_id for one in scaled.items] == [one.item_id for one in plain.items]
    assert [one.similarity for one in scaled.items] == pytest.approx([one.similarity for one in plain.items], abs=1e-5)


async def test_a_large_batch_is_answered_in_order(stub):
    asked = [GET(history=history(*[event()] * 20), k=1 + number % 3) for number in range(100)]
    answer = await stub.BatchGetCandidates(BATCH(requests=asked))
    assert [len(one.candidates) for one in answer.responses] == [one.k for one in asked]


async def test_one_bad_request_fails_its_batch_by_name(stub):
    good = GET(history=history(), k=2)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.BatchGetCandidates(BATCH(requests=[good, GET(history=history(), k=2, sources=["gossip"]), good]))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error.value).metadata["field"] == "sources[0]"


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        (GET(history=history(), k=1), 1),
        (GET(history=history(), k=2_000), 20),
        (GET(history=history(event(item_id="x" * 256)), k=3), 3),
        (GET(history=history(*[event()] * 1_000), k=19), 19),
        (GET(history=history(), k=0, score_item_ids=["i1"] * 2_000), 2_000),
        (
            GET(history=history(), k=5, filter=item_pb2.ItemFilter(exclude_item_ids=[f"i{n}" for n in range(10_000)])),
            0,
        ),
        (GET(history=history(event(type=event_pb2.EVENT_TYPE_DISLIKE)), k=20), 19),
    ],
    ids=["k 1", "k 2000", "unknown item", "1000 events", "2000 ids", "all excluded", "dislikes only"],
)
async def test_the_limits_themselves_are_allowed(stub, request_, count):
    assert len((await stub.GetCandidates(request_)).candidates) == count
