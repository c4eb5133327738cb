"""The four services of the serving path as processes on a slice of MovieLens, candidates and ranker trained."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from fusionrec.channel import connect
from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as ranker_grpc

from shared.testing.movielens import movielens_events, movielens_items
from shared.testing.processes import ROOT, ServiceProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

USERS, MIN_RATINGS = 60, 5
SERVICES = ("ingestion", "embedding", "candidates", "ranker")


@dataclass(frozen=True)
class World:
    """The running services, their environment, and what was imported."""

    processes: Mapping[str, ServiceProcess]
    environment: Mapping[str, str]
    ranker: ranker_grpc.RankerServiceStub
    ingestion: ingestion_grpc.IngestionServiceStub
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]

    def train(self, service, *arguments):
        """Runs a training job to its end."""
        command = [sys.executable, "-m", f"services.{service}", "train", "--protocol", "warm", *arguments]
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
        )


def write(stub):
    events = [event for event in movielens_events() if int(event.user_id) <= USERS]
    ratings = Counter(event.item_id for event in events)
    events = [event for event in events if ratings[event.item_id] >= MIN_RATINGS]
    used = {event.item_id for event in events}
    items = []
    for item in movielens_items():
        if item.item_id in used:
            message = item_pb2.Item(item_id=item.item_id, title=item.title, categories=item.categories)
            for name, value in item.attributes.items():
                message.attributes[name].number_value = value
            items.append(message)
    stub.UpsertItems(ingestion_pb.UpsertItemsRequest(items=items))
    messages = []
    for event in events:
        message = event_pb2.Event(
            user_id=event.user_id, item_id=event.item_id, type=event_pb2.EVENT_TYPE_RATING, value=event.value
        )
        message.timestamp.FromDatetime(event.timestamp)
        messages.append(message)
    for start in range(0, len(messages), 500):
        stub.WriteEvents(ingestion_pb.WriteEventsRequest(events=messages[start : start + 500]))
    return tuple(sorted({event.user_id for event in events})), tuple(sorted(used))


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    data = tmp_path_factory.mktemp("ranker-world")
    ports = {service: free_port() for service in SERVICES}
    environment = {"INGESTION_STORE": f"sqlite:///{data / 'events.db'}", "OMP_NUM_THREADS": "1"}
    # Titles are short and few: compiling for throughput would take longer than all the embedding.
    environment |= {"EMBEDDING_XLA_SHAPES": "[]", "EMBEDDING_MAX_TOKENS": "32"}
    for service in ("candidates", "ranker"):
        environment[f"{service.upper()}_ARTIFACTS"] = str(data / service)
        for neighbour in SERVICES[: SERVICES.index(service)]:
            environment[f"{service.upper()}_{neighbour.upper()}_ADDRESS"] = f"127.0.0.1:{ports[neighbour]}"
    with ExitStack() as stack:
        processes = {
            service: stack.enter_context(ServiceProcess(service, environment, port=ports[service]))
            for service in SERVICES
        }
        for service, process in processes.items():
            (process.wait_ready if service in ("ingestion", "embedding") else process.wait_live)(240)
        ingestion = ingestion_grpc.IngestionServiceStub(stack.enter_context(connect(processes["ingestion"].address)))
        ranker = ranker_grpc.RankerServiceStub(stack.enter_context(connect(processes["ranker"].address)))
        user_ids, item_ids = write(ingestion)
        yield World(processes, environment, ranker, ingestion, user_ids, item_ids)


@pytest.fixture(scope="session")
def refused(untrained):
    """What the ranker's training says before candidates is trained."""
    return untrained.train("ranker")


@pytest.fixture(scope="session")
def trained(untrained, refused):  # noqa: ARG001 (it must have run before candidates is trained)
    for service in ("candidates", "ranker"):
        ended = untrained.train(service, "--progress", "json")
        assert ended.returncode == 0, ended.stderr[-3000:]
    for service in ("candidates", "ranker"):
        untrained.processes[service].wait_ready(60)
    return untrained
