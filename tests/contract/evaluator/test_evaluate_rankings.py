"""EvaluateRankings through a real server: figures, limits, and errors that name field, value and limit."""

from __future__ import annotations

import math

import grpc
import pytest
from fusionrec.evaluator.v1 import evaluator_service_pb2 as pb
from fusionrec.evaluator.v1 import evaluator_service_pb2_grpc as pb_grpc

from services.evaluator.bootstrap import build
from services.evaluator.settings import EvaluatorSettings
from shared.data import limits
from shared.rpc.status import error_info
from shared.testing.servers import served


@pytest.fixture
async def stub(tmp_path):
    settings = EvaluatorSettings(port=0, metrics_port=0, artifacts=str(tmp_path / "artifacts"))
    async with served(build(settings), settings, "evaluator") as server:
        yield pb_grpc.EvaluatorServiceStub(server.channel)


def ranking(query="q", *items):
    return pb.Ranking(query_id=query, item_ids=items or ["a", "b"])


def judgement(query="q", item="a", gain=1.0):
    return pb.Judgement(query_id=query, item_id=item, gain=gain)


def request(**changes):
    given = {"rankings": [ranking()], "judgements": [judgement()]} | changes
    return pb.EvaluateRankingsRequest(**given)


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), error_info(refused.value)


async def test_the_default_metrics_and_counts(stub):
    reply = await stub.EvaluateRankings(
        request(
            rankings=[ranking("q", "x", "a"), ranking("unjudged", "a")],
            judgements=[judgement("q", "a"), judgement("q", "b"), judgement("absent", "a")],
        )
    )
    assert set(reply.metrics) == {"ndcg@10", "precision@10", "recall@20", "f1@10", "mrr@10", "hit_rate@10"}
    ndcg = (1 / math.log2(3)) / (1 + 1 / math.log2(3))
    assert reply.metrics["ndcg@10"] == pytest.approx(ndcg / 2)
    assert reply.metrics["recall@20"] == pytest.approx(0.25)
    assert (reply.queries, reply.queries_without_relevant, reply.queries_without_ranking) == (2, 1, 1)
    assert "2 queries" in reply.protocol
    assert not reply.per_query
    assert [timing.stage for timing in reply.served_by.timings] == ["decode", "evaluate"]
    assert reply.served_by.request_id


async def test_graded_gains_per_query_and_coverage(stub):
    reply = await stub.EvaluateRankings(
        request(
            rankings=[ranking("r", "b", "a"), ranking("q", "a", "b"), ranking("none", "c")],
            judgements=[judgement(query, item, gain) for query in "qr" for item, gain in (("a", 3.0), ("b", 1.0))],
            metrics=["ndcg@2", "ndcg@2", "map@1"],
            catalogue_size=10,
            per_query=True,
        )
    )
    worse = (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))
    assert [one.query_id for one in reply.per_query] == ["r", "q", "none"]
    assert reply.per_query[0].metrics["ndcg@2"] == pytest.approx(worse)
    assert reply.per_query[1].metrics == {"ndcg@2": 1.0, "map@1": 1.0}
    assert not reply.per_query[2].metrics
    assert reply.metrics["ndcg@2"] == pytest.approx((1 + worse) / 2)
    assert (reply.metrics["coverage@1"], reply.metrics["coverage@2"]) == (pytest.approx(0.3), pytest.approx(0.3))


async def test_an_empty_ranking_counts_as_nothing_found(stub):
    reply = await stub.EvaluateRankings(request(rankings=[pb.Ranking(query_id="q")], metrics=["recall@5"]))
    assert (reply.metrics["recall@5"], reply.queries) == (0.0, 1)


async def test_an_unknown_metric_lists_the_valid_names(stub):
    code, info = await refusal(stub.EvaluateRankings(request(metrics=["ndcg@10", "auc@10"])))
    assert (code, info.reason, info.metadata["field"]) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "metrics[1]",
    )
    assert info.metadata["value"] == "auc@10"
    assert "precision, recall, f1, ndcg, mrr, hit_rate, map" in info.metadata["limit"]


BAD = [
    ({"rankings": []}, "rankings", "INVALID_FIELD"),
    ({"judgements": []}, "judgements", "INVALID_FIELD"),
    ({"rankings": [ranking(), ranking("")]}, "rankings[1].query_id", "INVALID_FIELD"),
    ({"rankings": [ranking("q" * 257)]}, "rankings[0].query_id", "LIMIT_EXCEEDED"),
    ({"rankings": [ranking("p"), ranking("q"), ranking("p")]}, "rankings[2].query_id", "INVALID_FIELD"),
    ({"rankings": [ranking("q", "a", "b", "c", "b")]}, "rankings[0].item_ids[3]", "INVALID_FIELD"),
    ({"rankings": [ranking("q", "a", "")]}, "rankings[0].item_ids[1]", "INVALID_FIELD"),
    ({"rankings": [ranking("q", "é" * 129)]}, "rankings[0].item_ids[0]", "LIMIT_EXCEEDED"),
    ({"rankings": [ranking("q", "a\n")]}, "rankings[0].item_ids[0]", "INVALID_FIELD"),
    ({"judgements": [judgement(), judgement("")]}, "judgements[1].query_id", "INVALID_FIELD"),
    ({"judgements": [judgement(item="")]}, "judgements[0].item_id", "INVALID_FIELD"),
    ({"judgements": [judgement(), judgement()]}, "judgements[1].item_id", "INVALID_FIELD"),
    ({"judgements": [judgement(gain=-1)]}, "judgements[0].gain", "INVALID_FIELD"),
    ({"judgements": [judgement(gain=math.nan)]}, "judgements[0].gain", "INVALID_FIELD"),
    ({"judgements": [judgement(gain=math.inf)]}, "judgements[0].gain", "INVALID_FIELD"),
    ({"judgements": [judgement(gain=1000.5)]}, "judgements[0].gain", "INVALID_FIELD"),
    ({"metrics": ["ndcg@0"]}, "metrics[0]", "INVALID_FIELD"),
    ({"metrics": ["ndcg@10001"]}, "metrics[0]", "LIMIT_EXCEEDED"),
    ({"metrics": ["ndcg@1"] * 65}, "metrics", "LIMIT_EXCEEDED"),
    ({"catalogue_size": -1}, "catalogue_size", "INVALID_FIELD"),
    ({"catalogue_size": 1}, "catalogue_size", "INVALID_FIELD"),
]


@pytest.mark.parametrize(("changes", "field", "reason"), BAD)
async def test_bad_input_names_its_field(stub, changes, field, reason):
    code, info = await refusal(stub.EvaluateRankings(request(**changes)))
    assert (code, info.reason, info.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, reason, field)
    assert info.metadata["limit"]
    assert info.metadata["hint"]


async def test_counts_over_their_limits_are_refused(stub):
    long = [str(n) for n in range(limits.MAX_RANKING_LENGTH)]
    too_many = [pb.Ranking(query_id=str(n)) for n in range(limits.MAX_RANKINGS + 1)]
    for changes, field in (
        ({"rankings": [ranking("q", *long, "one more")]}, "rankings[0].item_ids"),
        ({"rankings": too_many}, "rankings"),
        ({"rankings": [ranking(str(n), *long) for n in range(101)]}, "rankings"),
        ({"judgements": [judgement("q", "a", 0)] * (limits.MAX_JUDGEMENTS + 1)}, "judgements"),
        (
            {"rankings": too_many[1:], "metrics": [f"ndcg@{k}" for k in range(1, 17)], "per_query": True},
            "per_query",
        ),
    ):
        code, info = await refusal(stub.EvaluateRankings(request(**changes)))
        assert (code, info.reason, info.metadata["field"]) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "LIMIT_EXCEEDED",
            field,
        )


async def test_the_largest_per_query_answer_fits_into_a_message(stub):
    queries = [f"{n:05}".ljust(256, "q") for n in range(limits.MAX_RANKINGS)]
    reply = await stub.EvaluateRankings(
        request(
            rankings=[pb.Ranking(query_id=query, item_ids=["a"]) for query in queries],
            judgements=[judgement(query[:256]) for query in queries],
            metrics=[f"precision@{k}" for k in range(9986, 10_001)],
            per_query=True,
        )
    )
    assert len(reply.per_query) == limits.MAX_RANKINGS
    assert all(len(one.metrics) == 15 for one in reply.per_query)
    assert reply.ByteSize() < limits.MAX_MESSAGE_BYTES


async def test_other_calls_are_answered_while_a_large_run_is_computed(stub):
    long = [str(n) for n in range(limits.MAX_RANKING_LENGTH)]
    large = request(rankings=[ranking(str(n), *long) for n in range(60)], judgements=[judgement("0", "5")])
    computing = stub.EvaluateRankings(large)
    small = 0
    while not computing.done():
        await stub.ListReports(pb.ListReportsRequest())
        small += 1
    assert (await computing).metrics["mrr@10"] == pytest.approx(1 / 6)
    assert small > 1


@pytest.mark.parametrize(
    ("name", "message", "waits_for"),
    [
        ("EvaluateOnline", pb.EvaluateOnlineRequest(), "logged outcomes joined to impressions"),
        ("CompareVariants", pb.CompareVariantsRequest(), "outcomes of experiments"),
    ],
)
async def test_what_is_not_served_yet_says_what_it_waits_for(stub, name, message, waits_for):
    code, info = await refusal(getattr(stub, name)(message))
    assert (code, info.reason, info.metadata["waits_for"]) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "NOT_SERVED_YET",
        waits_for,
    )
