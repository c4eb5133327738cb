"""The service at a million items against FAISS called in process on the same index, in one run.

GetCandidates of `als` alone, for users whose likes it read from the log, and GetSimilarItems by vector, both k = 100,
without kept answers. FAISS: one search for the same users' vectors (folded in beforehand) and the same query vectors,
in one thread to compare with calls one at a time, in two with calls sixteen at a time. Ratios are the service's calls
per second over FAISS's searches per second.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.candidates.v1 import candidates_service_pb2_grpc as pb_grpc
from fusionrec.channel import connect_aio
from fusionrec.common.v1 import item_pb2, vector_pb2

from benchmarks.candidates.data import Data
from benchmarks.candidates.fleet import START_S, write
from benchmarks.candidates.million import EMBEDDING, RARE, publish
from benchmarks.candidates.process import anonymous_mb, resident_mb
from benchmarks.candidates.serving import NO_ANSWERS
from benchmarks.echo import measure_echo
from benchmarks.loadgen import at_concurrencies
from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.index.parameters import IndexParameters
from services.candidates.index.spaces import unit
from services.candidates.profile import build_profile
from services.candidates.settings import CandidatesSettings
from services.candidates.sources.als import AlsModel
from services.candidates.versions.files import INDEXES, SOURCES
from services.candidates.versions.version import KIND
from shared.artifacts import ArtifactStore
from shared.data.splits import by_user
from shared.testing.processes import ServiceProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from benchmarks.candidates.million import Million
    from services.candidates.arrays import F32
    from services.candidates.index.live_index import LiveIndex

K = 100
TIMEOUT_S = 10
CANDIDATES, SIMILAR = "GetCandidates, als", "GetSimilarItems by vector"
THREADS = {"concurrency 1": 1, "concurrency 16": 2}
"""Threads of FAISS that a concurrency of calls is compared with: the service has two."""
NOBODY = "127.0.0.1:1"
"""Address of an embedding service that is not needed: nothing has a text to embed."""


async def measure(folder: Path, items: int, seconds: float) -> dict[str, Any]:
    """Publishes, serves and measures below `folder`, `seconds` at each concurrency."""
    artifacts = folder / "artifacts"
    million = publish(artifacts, items, datetime.now(UTC))
    searches = _in_process(artifacts, million, seconds)
    store = {"INGESTION_STORE": f"sqlite:///{folder / 'events.db'}"}
    with ServiceProcess("ingestion", store) as ingestion:
        ingestion.wait_ready(START_S)
        write(ingestion.address, Data((), tuple(million.events)))
        settings = {
            "CANDIDATES_INGESTION_ADDRESS": ingestion.address,
            "CANDIDATES_EMBEDDING_ADDRESS": NOBODY,
            "CANDIDATES_ARTIFACTS": str(artifacts),
            **NO_ANSWERS,
        }
        started = time.perf_counter()
        with ServiceProcess("candidates", settings) as process:
            process.wait_ready(START_S)
            loaded = round(time.perf_counter() - started, 1)
            service = await _service(process, million, seconds)
    ratios = {
        name: {load: round(service["calls"][name][load]["calls_per_s"] / rate, 3) for load, rate in own.items()}
        for name, own in searches.items()
    }
    return {
        **million.figures,
        "echo": await measure_echo(seconds),
        "start_to_serving_s": loaded,
        **service,
        "searches_per_s_in_process": searches,
        "to_faiss": ratios,
    }


async def _service(process: ServiceProcess, million: Million, seconds: float) -> dict[str, Any]:
    rare = item_pb2.ItemFilter(categories_any=[RARE])
    pid = process.process.pid
    resident = round(resident_mb(pid))
    async with connect_aio(process.address) as channel:
        stub = pb_grpc.CandidatesServiceStub(channel)
        loads = {
            CANDIDATES: _Load(stub.GetCandidates, _of_users(million, None)),
            SIMILAR: _Load(stub.GetSimilarItems, _by_vector(million, None)),
            f"{CANDIDATES}, 1 %": _Load(stub.GetCandidates, _of_users(million, rare)),
            f"{SIMILAR}, 1 %": _Load(stub.GetSimilarItems, _by_vector(million, rare)),
        }
        calls = {name: await at_concurrencies(load, seconds) for name, load in loads.items()}
        fewest = {name: await load.fewest() for name, load in loads.items()}
    return {
        "calls": calls,
        "fewest_of_100": fewest,
        "resident_mb_at_start": resident,
        "resident_mb": round(resident_mb(pid)),
        "of_it_anonymous_mb": round(anonymous_mb(pid)),
    }


class _Load:
    """One method called with one request after the other."""

    def __init__(self, method: Callable[..., Awaitable[Any]], requests: Sequence[object]) -> None:
        self._method = method
        self._requests = requests

    async def __call__(self, number: int) -> Any:
        return await self._method(self._requests[number % len(self._requests)], timeout=TIMEOUT_S)

    async def fewest(self) -> int:
        """Returns the number of items in the shortest answer."""
        answers = [await self(number) for number in range(len(self._requests))]
        return min(len(one.items if hasattr(one, "items") else one.columns.item_ids) for one in answers)


def _of_users(million: Million, item_filter: item_pb2.ItemFilter | None) -> list[pb.GetCandidatesRequest]:
    return [
        pb.GetCandidatesRequest(user_id=user, k=K, sources=["als"], by_column=True, filter=item_filter)
        for user in million.users
    ]


def _by_vector(million: Million, item_filter: item_pb2.ItemFilter | None) -> list[pb.GetSimilarItemsRequest]:
    vectors = [vector_pb2.Vector(data=one.astype("<f4").tobytes(), dim=len(one)) for one in million.queries]
    return [pb.GetSimilarItemsRequest(vector=one, k=K, filter=item_filter) for one in vectors]


def _in_process(artifacts: Path, million: Million, seconds: float) -> dict[str, dict[str, float]]:
    """Returns searches per second for the vectors that the service searches with, by load."""
    faiss.omp_set_num_threads(1)
    folder = ArtifactStore(str(artifacts)).load(KIND).folder
    builder = FaissIndexes(IndexParameters())
    return {
        CANDIDATES: _searched(builder.open(folder / INDEXES / "cf", EMBEDDING), _folded(folder, million), seconds),
        SIMILAR: _searched(builder.open(folder / INDEXES / "similar_cf", EMBEDDING), unit(million.queries), seconds),
    }


def _folded(folder: Path, million: Million) -> F32:
    model = AlsModel.load(folder / SOURCES / "als")
    rules = CandidatesSettings().rules
    histories = by_user(million.events)
    vectors = [model.fold_in(build_profile(histories[user], million.rows, rules)) for user in million.users]
    return np.stack(vectors).astype(np.float32)


def _searched(index: LiveIndex, queries: F32, seconds: float) -> dict[str, float]:
    built = index.built
    built.main.search(queries, K, built.effort, None)

    def search(_thread: int) -> int:
        end, done = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            built.main.search(queries[done % len(queries)][None], K, built.effort, None)
            done += 1
        return done

    rates = {}
    for load, threads in THREADS.items():
        with ThreadPoolExecutor(threads) as pool:
            rates[load] = round(sum(pool.map(search, range(threads))) / seconds, 1)
    return rates
