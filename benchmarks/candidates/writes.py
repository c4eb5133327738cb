"""GetCandidates under writes and during a swap, on MovieLens, at a fixed rate that does not wait for answers.

The service has a core of its own, as in a container of its own: what writes, keeps and embeds runs on the others. Quiet
and with 1,000 events and 10 new items a second, in turns: with calls whose answers are all computed, so that like is
compared with like, and as users call, where most of the quiet answers are given again and under writes hardly any.
A p99 of a thousand calls stands on the worst ten of them, and machines have moods: figures are medians of several
rounds, and the p99 of each is in the table. What is learned of the likes of new items goes on for a while after the
writes, at a tenth of the core: the first quiet round is without it.

Then while a second version is trained and taken over, and while a third one is published without a training. Two-way
writes: `two_way.py`.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.candidates.v1 import candidates_service_pb2_grpc as pb_grpc
from fusionrec.channel import connect_aio

from benchmarks.candidates import two_way
from benchmarks.candidates.fleet import run_child
from benchmarks.candidates.process import core_of_its_own, cpu_seconds
from benchmarks.candidates.serving import TIMEOUT_S, Load, calls, shuffled
from benchmarks.loadgen import closed_loop, open_loop
from services.candidates.versions.version import KIND
from shared.artifacts import ArtifactStore
from shared.artifacts.manifest import MANIFEST_FILE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from benchmarks.candidates.data import Data
    from benchmarks.candidates.fleet import Fleet
    from benchmarks.loadgen import Call, Result
    from shared.testing.processes import ServiceProcess

    Processes = Mapping[str, ServiceProcess]

EVENTS_PER_S, ITEMS_PER_S = 1_000, 10
POPULATION = 10_000
"""Users who write; those who are asked about are among them."""
SHARE_OF_CAPACITY = 1 / 3
"""Of the calls that can be answered when each is computed anew."""
COMPUTED, AS_CALLED = "every answer computed", "as users call"
PHASES = ("quiet", "writes", "writes_of_the_asked_alone")
ROUNDS = 3
AROUND_SWAP_S = 1.0
LONGEST_S = 900.0
SWAP_WITHIN_S = 60.0
START_S, SETTLE_S = 1.0, 3.0
"""Time that the writer's process needs to start, and that its writes need to be worked off."""


class _Seen:
    """GetCandidates, and when its answers first came from each version."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.versions: dict[str, float] = {}

    async def __call__(self, number: int) -> object:
        reply: pb.GetCandidatesResponse = await self._call(number)  # type: ignore[assignment]  # what `calls` returns
        for model in reply.served_by.models:
            if model.kind == KIND:
                self.versions.setdefault(model.version, time.perf_counter())
        return reply


async def measure(fleet: Fleet, data: Data, seconds: float) -> dict[str, Any]:
    """Measures all of it with the default settings; the version is trained already."""
    with fleet.candidates() as process:
        processes = {"candidates": process, "ingestion": fleet.ingestion, "embedding": fleet.embedding}
        others = [fleet.ingestion.process.pid, fleet.embedding.process.pid]
        with core_of_its_own(process.process.pid, others):
            async with connect_aio(process.address) as channel:
                return await _measure(fleet, processes, pb_grpc.CandidatesServiceStub(channel), data, seconds)


async def _measure(
    fleet: Fleet, processes: Processes, stub: pb_grpc.CandidatesServiceAsyncStub, data: Data, seconds: float
) -> dict[str, Any]:
    call = calls(stub, shuffled(data.users), Load({}))
    await closed_loop(call, concurrency=4, seconds=min(seconds, 5.0))
    computed = _computed(stub, shuffled(data.users))
    capacity = (await closed_loop(computed, concurrency=16, seconds=min(seconds, 5.0))).per_second
    rate = capacity * SHARE_OF_CAPACITY
    return {
        "capacity_per_s": round(capacity, 1),
        "offered_per_s": round(rate, 1),
        "loads": await _under_writes(processes, {COMPUTED: computed, AS_CALLED: call}, rate, data, seconds),
        "swap_after_training": await _swap(call, rate, _train(fleet)),
        "swap_alone": await _swap(call, rate, asyncio.to_thread(republish, str(fleet.artifacts))),
        "two_way": await two_way.measure(processes["candidates"].address, processes["ingestion"].address, call),
    }


def _computed(stub: pb_grpc.CandidatesServiceAsyncStub, users: Sequence[str]) -> Call:
    """Returns calls that no kept answer can serve: each excludes another item, which there is not."""
    asked = itertools.count()

    async def call(number: int) -> pb.GetCandidatesResponse:
        request = pb.GetCandidatesRequest(user_id=users[number % len(users)], k=Load({}).k, by_column=True)
        request.filter.exclude_item_ids.append(f"none-{next(asked)}")
        return await stub.GetCandidates(request, timeout=TIMEOUT_S)

    return call


async def _under_writes(
    processes: Processes, loads: Mapping[str, Call], rate: float, data: Data, seconds: float
) -> dict[str, Any]:
    """Measures each load in each of `PHASES`, one after the other, `ROUNDS` times."""
    others = [f"other-{number}" for number in range(max(0, POPULATION - len(data.users)))]
    writers = dict(zip(PHASES, (None, [*data.users, *others], data.users), strict=True))
    measured: dict[str, dict[str, list[dict[str, Any]]]] = {load: {phase: [] for phase in PHASES} for load in loads}
    turns = itertools.product(range(ROUNDS), loads.items(), writers.items())
    for seed, (_, (load, call), (phase, users)) in enumerate(turns):
        options = {
            "address": processes["ingestion"].address,
            "users": users,
            "items": [item.item_id for item in data.items],
            "events_per_s": EVENTS_PER_S,
            "items_per_s": ITEMS_PER_S,
            "seconds": seconds + START_S,
            # Other events each time: those that are there already would change nothing.
            "seed": seed,
        }
        figures = await _while_written(processes, call, rate, seconds, options if users else None)
        measured[load][phase].append(figures)
    return {load: _of_rounds(phases) for load, phases in measured.items()}


def _of_rounds(phases: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Returns the medians of a load's rounds by phase, the p99 of each round, and the failures of all."""
    quiet = median(one["p99_ms"] for one in phases["quiet"])
    return {
        phase: {
            **{name: round(median(one[name] for one in rounds), 3) for name in ("calls_per_s", "p50_ms", "p99_ms")},
            "p99_ms_of_rounds": [one["p99_ms"] for one in rounds],
            "p99_to_quiet": round(median(one["p99_ms"] for one in rounds) / quiet, 2),
            "calls": sum(one["calls"] for one in rounds),
            "failed": sum(one["failed"] for one in rounds),
            "cores": {name: median(one["cores"][name] for one in rounds) for name in rounds[0]["cores"]},
            "written": rounds[-1]["written"],
        }
        for phase, rounds in phases.items()
    }


async def _while_written(
    processes: Processes, call: Call, rate: float, seconds: float, options: dict[str, Any] | None
) -> dict[str, Any]:
    """Calls while a writer with these options, if any, runs; `cores` is how many each service kept busy."""
    writing = None
    if options is not None:
        writing = asyncio.create_task(asyncio.to_thread(run_child, "benchmarks.candidates.writer", options))
        await asyncio.sleep(START_S)
    before = {name: cpu_seconds(one.process.pid) for name, one in processes.items()}
    result = await open_loop(call, per_second=rate, seconds=seconds)
    cores = {
        name: round((cpu_seconds(one.process.pid) - before[name]) / result.seconds, 2)
        for name, one in processes.items()
    }
    written = {} if writing is None else await writing
    await asyncio.sleep(SETTLE_S)
    return {**result.summary(), "calls": len(result.latencies), "cores": cores, "written": written}


async def _swap(call: Call, rate: float, publishing: Awaitable[float]) -> dict[str, Any]:
    """Calls until a version that `publishing` publishes answers; it returns when that was (`time.perf_counter`)."""
    seen = _Seen(call)
    await seen(0)
    task = asyncio.ensure_future(publishing)
    calling = open_loop(seen, per_second=rate, seconds=LONGEST_S, ended=lambda: _is_over(seen, task))
    started = time.perf_counter()
    result, published = await asyncio.gather(calling, task)
    if len(seen.versions) == 1:
        raise RuntimeError(f"a version was published and not taken over within {SWAP_WITHIN_S:g} s")
    swapped = max(seen.versions.values())
    return {
        **_figures(result),
        "calls": len(result.latencies),
        "published_after_s": round(published - started, 1),
        "published_to_first_answer_s": round(swapped - published, 2),
        "until_published": _figures(result.between(started, published)),
        "while_loaded": _figures(result.between(published, swapped)),
        "around_swap": _figures(result.between(swapped - AROUND_SWAP_S, swapped + AROUND_SWAP_S)),
    }


def _is_over(seen: _Seen, task: asyncio.Future[float]) -> bool:
    if len(seen.versions) > 1:
        return time.perf_counter() > max(seen.versions.values()) + 2 * AROUND_SWAP_S
    return task.done() and (task.exception() is not None or time.perf_counter() > task.result() + SWAP_WITHIN_S)


def _figures(result: Result) -> dict[str, float]:
    summary = result.summary()
    return {name: summary[name] for name in ("p50_ms", "p99_ms", "failed")}


async def _train(fleet: Fleet) -> float:
    await asyncio.to_thread(fleet.train)
    return time.perf_counter()


def republish(artifacts: str, kind: str = KIND) -> float:
    """Publishes the current version's files once more: a swap without a training on the same cores.

    Returns when that was, by `time.perf_counter`.
    """
    store = ArtifactStore(artifacts)
    loaded = store.load(kind)
    manifest = loaded.manifest
    facts: dict[str, Any] = {"config": manifest.config, "data": manifest.data, "lineage": manifest.lineage}
    with tempfile.TemporaryDirectory(prefix="republished-") as folder:
        shutil.copytree(loaded.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST_FILE))
        store.publish(kind, Path(folder), labels=manifest.labels, **facts)
    return time.perf_counter()
