"""Exploration learns from the log of a real ingestion service: every replica, and every restart, the same."""

from __future__ import annotations

import asyncio
import contextlib

from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc
from fusionrec.ranker.v1 import ranker_service_pb2 as pb
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as ranker_grpc

from services.ingestion.bootstrap import build
from services.ingestion.settings import IngestionSettings
from services.ranker.bootstrap import RankerApp
from services.ranker.settings import RankerSettings
from shared.testing.processes import NOWHERE
from shared.testing.servers import served

ITEMS = [f"i{n}" for n in range(6)]


@contextlib.asynccontextmanager
async def ranker(tmp_path, ingestion):
    settings = RankerSettings(
        port=0, metrics_port=0, artifacts=str(tmp_path), ingestion_address=ingestion, embedding_address=NOWHERE,
        candidates_address=NOWHERE, exploration_learns=True, exploration_method="thompson",
    )  # fmt: skip
    app = RankerApp(settings)
    async with served(app, settings, "ranker", ready=False) as server:
        yield app._outcomes, ranker_grpc.RankerServiceStub(server.channel)


def means(outcomes):
    shapes, rates = outcomes.posterior(ITEMS)
    return (shapes / rates).tolist()


async def until(check):
    async with asyncio.timeout(30):
        while not (found := check()):
            await asyncio.sleep(0.02)
    return found


async def test_what_is_clicked_is_learned_by_every_replica_and_after_a_restart(tmp_path):
    settings = IngestionSettings(port=0, metrics_port=0, store=f"sqlite:///{tmp_path}/events.db")
    async with served(build(settings), settings, "ingestion") as log:
        ingestion = ingestion_grpc.IngestionServiceStub(log.channel)
        items = [item_pb2.Item(item_id=item_id, title=item_id) for item_id in ITEMS]
        await ingestion.UpsertItems(ingestion_pb.UpsertItemsRequest(items=items))
        likes = [
            event_pb2.Event(user_id=f"v{n}", item_id=ITEMS[n % 6], type=event_pb2.EVENT_TYPE_LIKE) for n in range(12)
        ]
        await ingestion.WriteEvents(ingestion_pb.WriteEventsRequest(events=likes))
        async with ranker(tmp_path, log.address) as (first, stub), ranker(tmp_path, log.address) as (second, _):
            request = pb.RecommendRequest(context=pb.RankingContext(user_id="u"), k=6, explore=True)
            answer = await stub.Recommend(request, timeout=20)
            assert all(0 < one.propensity <= 1 for one in answer.results)
            # Before its impression, which is written after the reply.
            clicked = answer.results[2]
            click = event_pb2.Event(
                user_id="u",
                item_id=clicked.item_id,
                type=event_pb2.EVENT_TYPE_CLICK,
                attribution_token=clicked.attribution_token,
            )
            await ingestion.WriteEvents(ingestion_pb.WriteEventsRequest(events=[click]))
            place = ITEMS.index(clicked.item_id)
            await until(lambda: means(first)[place] > 1 and min(means(first)) < 1)
            await until(lambda: means(second) == means(first))
            learned = means(first)
        history = await ingestion.GetUserHistory(
            ingestion_pb.GetUserHistoryRequest(user_id="u", types=[event_pb2.EVENT_TYPE_IMPRESSION], limit=100)
        )
        told = {one.attribution_token: one.propensity for one in answer.results}
        assert {one.attribution_token: one.propensity for one in history.events} == told
        async with ranker(tmp_path, log.address) as (again, _):
            await until(lambda: means(again) == learned)
