"""The services that are measured, as processes: ingestion and embedding, candidates when asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionrec.channel import connect
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc

from shared.rpc.convert import encode_event, encode_item
from shared.testing.processes import ROOT, ServiceProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeVar

    from benchmarks.candidates.data import Data

    T = TypeVar("T")

START_S = 300.0
BATCH = 1_000
SERVING = ("train", "--protocol", "warm", "--stages", "serving", "--progress", "json")


@dataclass(frozen=True)
class Fleet:
    """Running ingestion and embedding, and where candidates keeps its versions."""

    ingestion: ServiceProcess
    embedding: ServiceProcess
    artifacts: Path

    @property
    def environment(self) -> dict[str, str]:
        """Returns what lets candidates find the others."""
        return {
            "CANDIDATES_INGESTION_ADDRESS": self.ingestion.address,
            "CANDIDATES_EMBEDDING_ADDRESS": self.embedding.address,
            "CANDIDATES_ARTIFACTS": str(self.artifacts),
        }

    @contextmanager
    def candidates(self, settings: Mapping[str, str] | None = None) -> Iterator[ServiceProcess]:
        """Runs candidates with these settings on top; yields when it is SERVING."""
        with ServiceProcess("candidates", {**self.environment, **(settings or {})}) as process:
            process.wait_ready(START_S)
            yield process

    def start_training(self) -> subprocess.Popen[str]:
        """Starts the job that publishes a version of everything."""
        command = [sys.executable, "-m", "services.candidates", *SERVING]
        environment = {**os.environ, **self.environment}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def train(self) -> float:
        """Runs that job to its end; returns its seconds.

        Raises:
            RuntimeError: it failed; the text is what it wrote.

        """
        started = time.perf_counter()
        job = self.start_training()
        _, written = job.communicate()
        if job.returncode:
            raise RuntimeError(written[-3_000:])
        return round(time.perf_counter() - started, 1)


@contextmanager
def running_fleet(folder: Path, data: Data | None) -> Iterator[Fleet]:
    """Starts ingestion and embedding with their data below `folder`, imports `data`; stops them at the end."""
    store = {"INGESTION_STORE": f"sqlite:///{folder / 'events.db'}"}
    with ServiceProcess("ingestion", store) as ingestion, ServiceProcess("embedding") as embedding:
        ingestion.wait_ready(START_S)
        if data is not None:
            write(ingestion.address, data)
        embedding.wait_ready(START_S)
        yield Fleet(ingestion, embedding, folder / "artifacts")


def write(address: str, data: Data) -> None:
    """Writes items and events through ingestion."""
    with connect(address) as channel:
        stub = ingestion_grpc.IngestionServiceStub(channel)
        for items in _parts(data.items):
            stub.UpsertItems(ingestion_pb.UpsertItemsRequest(items=[encode_item(one) for one in items]))
        for events in _parts(data.events):
            stub.WriteEvents(ingestion_pb.WriteEventsRequest(events=[encode_event(one) for one in events]))


def run_child(module: str, options: Mapping[str, object], timeout_s: float | None = None) -> dict[str, object]:
    """Runs a module of the benchmark in a process of its own, options in and figures out as JSON.

    Raises:
        subprocess.TimeoutExpired: it took longer than `timeout_s` seconds; it was killed.
        RuntimeError: it failed; the text is what it wrote to standard error.

    """
    command = [sys.executable, "-m", module]
    ended = subprocess.run(
        command, cwd=ROOT, input=json.dumps(options), capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if ended.returncode:
        raise RuntimeError(f"{module} ended with {ended.returncode}: {ended.stderr[-2_000:]}")
    figures: dict[str, object] = json.loads(ended.stdout.splitlines()[-1])
    return figures


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + BATCH] for start in range(0, len(values), BATCH))
