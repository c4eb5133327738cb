"""Each stage alone under an open loop: arrivals that do not wait. Nothing fails, nothing is refused, health stays.

The rates are low enough for any machine; what a stage can do is measured in `benchmarks/`.
"""

from __future__ import annotations

import pytest
from fusionrec.candidates.v1 import candidates_service_pb2 as candidates_pb
from fusionrec.candidates.v1 import candidates_service_pb2_grpc as candidates_grpc
from fusionrec.channel import connect_aio
from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.embedding.v1 import embedding_service_pb2 as embedding_pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as embedding_grpc
from fusionrec.evaluator.v1 import evaluator_service_pb2 as evaluator_pb
from fusionrec.evaluator.v1 import evaluator_service_pb2_grpc as evaluator_grpc
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc
from fusionrec.ranker.v1 import ranker_service_pb2 as ranker_pb
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as ranker_grpc

from benchmarks.loadgen import open_loop

pytestmark = pytest.mark.slow

SECONDS, TIMEOUT_S = 3.0, 30.0


def ingestion(channel, world):
    stub = ingestion_grpc.IngestionServiceStub(channel)

    async def call(number):
        kind = event_pb2.EVENT_TYPE_CLICK
        event = event_pb2.Event(
            event_id=f"load-{number}", user_id=f"load-{number % 7}", item_id=world.item_ids[number % 50], type=kind
        )
        reply = await stub.WriteEvents(ingestion_pb.WriteEventsRequest(events=[event]), timeout=TIMEOUT_S)
        assert reply.results[0].status == ingestion_pb.WRITE_STATUS_ACCEPTED

    return call


def embedding(channel, _world):
    stub = embedding_grpc.EmbeddingServiceStub(channel)

    async def call(number):
        reply = await stub.Embed(embedding_pb.EmbedRequest(texts=[f"film number {number}"]), timeout=TIMEOUT_S)
        assert len(reply.embeddings[0].vector.data) == 4 * reply.embeddings[0].vector.dim

    return call


def candidates(channel, world):
    stub = candidates_grpc.CandidatesServiceStub(channel)

    async def call(number):
        user = world.user_ids[number % len(world.user_ids)]
        # Repeats are allowed: some users have seen so much of the slice that fewer than 100 would be left.
        policy = event_pb2.SEEN_POLICY_ALLOW_REPEATS
        request = candidates_pb.GetCandidatesRequest(user_id=user, k=100, seen_policy=policy)
        reply = await stub.GetCandidates(request, timeout=TIMEOUT_S)
        assert len(reply.candidates) == 100

    return call


def ranker(channel, world):
    stub = ranker_grpc.RankerServiceStub(channel)

    async def call(number):
        context = ranker_pb.RankingContext(user_id=world.user_ids[number % len(world.user_ids)])
        # Another question every time: an answer that is given again would be no load.
        never_seen = item_pb2.ItemFilter(exclude_item_ids=[f"call {number}"])
        request = ranker_pb.RecommendRequest(context=context, k=10, filter=never_seen, skip_impressions=True)
        reply = await stub.Recommend(request, timeout=TIMEOUT_S)
        assert len(reply.results) == 10
        assert not reply.degraded

    return call


def evaluator(channel, world):
    stub = evaluator_grpc.EvaluatorServiceStub(channel)
    ranking = evaluator_pb.Ranking(query_id="q", item_ids=world.item_ids[:100])
    judgement = evaluator_pb.Judgement(query_id="q", item_id=world.item_ids[0], gain=1)
    request = evaluator_pb.EvaluateRankingsRequest(rankings=[ranking], judgements=[judgement])

    async def call(_number):
        reply = await stub.EvaluateRankings(request, timeout=TIMEOUT_S)
        assert reply.metrics["ndcg@10"] == 1.0

    return call


@pytest.mark.parametrize(
    ("stage", "per_second"), [(ingestion, 50), (embedding, 10), (candidates, 20), (ranker, 10), (evaluator, 20)]
)
async def test_a_stage_alone_under_an_open_loop(trained, stage, per_second):
    service = stage.__name__
    async with connect_aio(trained.address(service)) as channel:
        call = stage(channel, trained)
        await call(1_000_000)
        result = await open_loop(call, per_second=per_second, seconds=SECONDS)
    print(service, result.summary())
    assert not result.failures
    assert len(result.latencies) > per_second
    assert trained.processes[service].health() == "SERVING"
