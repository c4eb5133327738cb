"""Recommend against a bare gRPC echo, in one run: p50, p99 and calls/s at concurrency 1 and 16, and the ratios.

Needs trained services (`fusionrec demo --keep`, then `fusionrec up`, or containers).

    python -m benchmarks.recommend --ranker 127.0.0.1:50054 --ingestion 127.0.0.1:50051
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import numpy as np
import uvloop
from fusionrec.channel import connect_aio
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc
from fusionrec.ranker.v1 import ranker_service_pb2 as ranker_pb
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as ranker_grpc

from benchmarks.echo_server import METHOD
from benchmarks.environment import describe
from benchmarks.loadgen import closed_loop, open_loop

if TYPE_CHECKING:
    from benchmarks.loadgen import Call

CONCURRENCIES = (1, 16)
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


async def _measure(call: Call, seconds: float) -> dict[str, dict[str, float]]:
    await closed_loop(call, concurrency=4, seconds=min(seconds, 3.0))
    return {
        f"concurrency {n}": (await closed_loop(call, concurrency=n, seconds=seconds)).summary() for n in CONCURRENCIES
    }


async def _echo(seconds: float) -> dict[str, dict[str, float]]:
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("echo_server.py"))], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None  # noqa: S101
        async with grpc.aio.insecure_channel(f"127.0.0.1:{int(server.stdout.readline())}") as channel:
            echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            payload = b"x" * 64

            async def call(_number: int) -> object:
                return await echo(payload)

            return await _measure(call, seconds)
    finally:
        server.terminate()
        server.wait()


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

        closed = await _measure(call, seconds)
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
    echo = await _echo(seconds)
    recommend = await _recommend(ranker, users, seconds)
    ratios = {
        name: {
            "calls_per_s": round(recommend["closed_loop"][name]["calls_per_s"] / figures["calls_per_s"], 4),
            "p50": round(recommend["closed_loop"][name]["p50_ms"] / figures["p50_ms"], 2),
        }
        for name, figures in echo.items()
    }
    return {
        "benchmark": "recommend",
        "environment": describe(),
        "echo": echo,
        "recommend": recommend,
        "recommend_to_echo": ratios,
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
