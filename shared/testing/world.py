"""The five services as processes on a slice of MovieLens: one world for all tests of a run that need the whole path."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionrec.channel import connect
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc

from shared.rpc.convert import encode_event, encode_item
from shared.testing.movielens import movielens_events, movielens_items
from shared.testing.processes import ROOT, ServiceProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import grpc

    from shared.data.nouns import Event

SERVICES = ("ingestion", "embedding", "candidates", "ranker", "evaluator")
READY_UNTRAINED = ("ingestion", "embedding", "evaluator")
NEIGHBOURS = {
    "candidates": ("ingestion", "embedding"),
    "ranker": ("ingestion", "embedding", "candidates"),
    "evaluator": ("ingestion", "candidates", "ranker"),
}
USERS, MIN_RATINGS = 120, 8
START_S = 240.0
"""TensorFlow takes its time to start on a busy machine, seconds."""
JOB_S = 280.0


@dataclass(frozen=True)
class World:
    """The running services, their environment, and what was imported."""

    processes: Mapping[str, ServiceProcess]
    environment: Mapping[str, str]
    events: tuple[Event, ...]

    @property
    def user_ids(self) -> tuple[str, ...]:
        """The users of the slice, sorted."""
        return tuple(sorted({event.user_id for event in self.events}))

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The movies of the slice, sorted."""
        return tuple(sorted({event.item_id for event in self.events}))

    def address(self, service: str) -> str:
        """Returns the address of a service."""
        return self.processes[service].address

    def job(self, service: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a job of a service to its end."""
        command = [sys.executable, "-m", f"services.{service}", *arguments]
        environment = {**os.environ, **self.environment}
        return subprocess.run(  # noqa: S603 (our own module)
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=JOB_S, check=False
        )

    def train(self, protocol: str) -> None:
        """Trains candidates and ranker for a protocol."""
        for service in ("candidates", "ranker"):
            ended = self.job(service, "train", "--protocol", protocol, "--progress", "json")
            assert ended.returncode == 0, ended.stderr[-3000:]

    def wait_trained(self) -> None:
        """Waits until candidates and ranker serve what was trained."""
        for service in ("candidates", "ranker"):
            self.processes[service].wait_ready(60)


def a_slice() -> tuple[Event, ...]:
    """Returns the ratings of the first users on the movies that they rated often enough, in the file's order."""
    events = [event for event in movielens_events() if int(event.user_id) <= USERS]
    ratings = Counter(event.item_id for event in events)
    return tuple(event for event in events if ratings[event.item_id] >= MIN_RATINGS)


def write(channel: grpc.Channel, events: Sequence[Event]) -> None:
    """Writes the items of the events, then the events."""
    stub = ingestion_grpc.IngestionServiceStub(channel)
    used = {event.item_id for event in events}
    items = [encode_item(item) for item in movielens_items() if item.item_id in used]
    for start in range(0, len(items), 500):
        stub.UpsertItems(ingestion_pb.UpsertItemsRequest(items=items[start : start + 500]))
    for start in range(0, len(events), 500):
        batch = [encode_event(event) for event in events[start : start + 500]]
        stub.WriteEvents(ingestion_pb.WriteEventsRequest(events=batch))


def environment_of(ports: Mapping[str, int], data: Path) -> dict[str, str]:
    """Returns the environment that lets the five find each other and keep their data under `data`."""
    environment = {"INGESTION_STORE": f"sqlite:///{data / 'events.db'}", "OMP_NUM_THREADS": "2"}
    # Titles are short and few: compiling for throughput would take longer than all the embedding.
    environment |= {"EMBEDDING_XLA_SHAPES": "[]", "EMBEDDING_MAX_TOKENS": "32"}
    # Neighbours may be slow on a busy machine: an answer is degraded where one is down, not where the tests are slow.
    environment |= dict.fromkeys(("RANKER_HISTORY_TIMEOUT_S", "RANKER_EMBEDDING_TIMEOUT_S"), "15")
    environment["RANKER_CANDIDATES_TIMEOUT_S"] = "15"
    for service, neighbours in NEIGHBOURS.items():
        environment[f"{service.upper()}_ARTIFACTS"] = str(data / service)
        for neighbour in neighbours:
            environment[f"{service.upper()}_{neighbour.upper()}_ADDRESS"] = f"127.0.0.1:{ports[neighbour]}"
    return environment


@contextmanager
def running_world(data: Path) -> Iterator[World]:
    """Runs the five services with the slice imported, nothing trained; stops them at the end."""
    ports = {service: free_port() for service in SERVICES}
    environment = environment_of(ports, data)
    with ExitStack() as stack:
        processes = {
            service: stack.enter_context(ServiceProcess(service, environment, port=ports[service]))
            for service in SERVICES
        }
        for service, process in processes.items():
            (process.wait_ready if service in READY_UNTRAINED else process.wait_live)(START_S)
        events = a_slice()
        with connect(processes["ingestion"].address) as channel:
            write(channel, events)
        yield World(processes, environment, events)
