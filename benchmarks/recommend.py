"""Recommend against a bare gRPC echo, in one run: p50, p99 and calls/s at concurrency 1 and 16, and the ratios.

Needs trained services (`fusionrec demo --keep`, then `fusionrec up`, or containers).

    python -m benchmarks.recommend --ranker 127.0.0.1:50054 --ingestion 127.0.0.1:50051
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from typing import Any

import numpy as np
import uvloop
from fusionrec.channel import connect_aio
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc
from fusionrec.ranker.v1 import ranker_service_pb2 as ranker_pb
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as ranker_grpc

from benchmarks.echo import measure_echo
from benchmarks.environment import describe
from benchmarks.loadgen import at_concurrencies, closed_loop, open_loop, ratios

USERS = 500


async def _users(address: str) -> list[str]:
    async with connect_aio(address) as channel:
        stub = ingestion_grpc.IngestionServiceStub(channel)
        users: dict[str, None] = {}
        async for batch in stub.ReadEvents(ingestion_pb.ReadEventsRequest()):
            users.update((record.event.user_id, None) for record in batch.records if record.HasField("event"))
            if len(users) >= USERS:
                break
    return list(users)[:USERS]


async def _recommend(address: str, users: list[str], seconds: float) -> dict[str, Any]:
    async with connect_aio(address) as channel:
        stub = ranker_grpc.RankerServiceStub(channel)
        stages: dict[str, list[int]] = defaultdict(list)

        async def call(number: int) -> object:
            context = ranker_pb.RankingContext(user_id=users[number % len(users)])
            reply = await stub.Recommend(
                ranker_pb.RecommendRequest(context=context, k=20, skip_impressions=True), timeout=10
            )
            for timing in reply.served_by.timings:
                stages[timing.stage].append(timing.compute_us)
            return reply

        closed = await at_concurrencies(call, seconds)
        half = closed["concurrency 16"]["calls_per_s"] / 2
        opened = await open_loop(call, per_second=max(half, 1.0), seconds=seconds)
        stages.clear()
        await closed_loop(call, concurrency=1, seconds=min(seconds, 5.0))
    return {
        "closed_loop": closed,
        "open_loop_at_half_capacity": {"offered_per_s": round(half, 1), **opened.summary()},
        "stage_p50_us": {stage: int(np.median(times)) for stage, times in stages.items()},
    }


async def run(ranker: str, ingestion: str, seconds: float) -> dict[str, Any]:
    """Measures echo and Recommend one after the other; returns figures, ratios and the environment."""
    users = await _users(ingestion)
    echo = await measure_echo(seconds)
    recommend = await _recommend(ranker, users, seconds)
    return {
        "benchmark": "recommend",
        "environment": describe(),
        "echo": echo,
        "recommend": recommend,
        "recommend_to_echo": ratios(recommend["closed_loop"], echo),
    }


def main() -> None:
    """Parses the command line, runs, prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranker", default="127.0.0.1:50054")
    parser.add_argument("--ingestion", default="127.0.0.1:50051")
    parser.add_argument("--seconds", type=float, default=10.0, help="per measurement")
    options = parser.parse_args()
    print(json.dumps(uvloop.run(run(options.ranker, options.ingestion, options.seconds)), indent=2))


if __name__ == "__main__":
    main()
