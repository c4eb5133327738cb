"""The five services as processes on a slice of MovieLens, trained for all three protocols."""

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

from shared.data.splits import Protocol
from shared.testing.movielens import movielens_events, movielens_items
from shared.testing.processes import ROOT, ServiceProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc

    from shared.data.nouns import Event

USERS, MIN_RATINGS = 120, 8
SERVICES = ("ingestion", "embedding", "candidates", "ranker", "evaluator")


@dataclass(frozen=True)
class World:
    """The running services: addresses, environment, and what was imported."""

    address: Mapping[str, str]
    environment: Mapping[str, str]
    events: tuple[Event, ...]

    def job(self, service, *arguments):
        """Runs a job of a service to its end."""
        command = [sys.executable, "-m", f"services.{service}", *arguments]
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
        )

    def train(self, protocol):
        """Trains candidates and ranker for a protocol."""
        for service in ("candidates", "ranker"):
            ended = self.job(service, "train", "--protocol", str(protocol), "--progress", "json")
            assert ended.returncode == 0, ended.stderr[-3000:]


def a_slice():
    """The ratings of the first users on the movies that they rated often enough, in the file's order."""
    events = [event for event in movielens_events() if int(event.user_id) <= USERS]
    ratings = Counter(event.item_id for event in events)
    return tuple(event for event in events if ratings[event.item_id] >= MIN_RATINGS)


def write(address, events):
    """Writes events and their items."""
    used = {event.item_id for event in events}
    with connect(address) as channel:
        stub = ingestion_grpc.IngestionServiceStub(channel)
        items = [
            item_pb2.Item(
                item_id=item.item_id,
                title=item.title,
                categories=item.categories,
                attributes={
                    name: item_pb2.AttributeValue(number_value=value) for name, value in item.attributes.items()
                },
            )
            for item in movielens_items()
            if item.item_id in used
        ]
        for start in range(0, len(items), 500):
            stub.UpsertItems(ingestion_pb.UpsertItemsRequest(items=items[start : start + 500]))
        messages = []
        for event in events:
            message = event_pb2.Event(
                user_id=event.user_id, item_id=event.item_id, type=event_pb2.EVENT_TYPE_RATING, value=event.value
            )
            message.timestamp.FromDatetime(event.timestamp)
            messages.append(message)
        for start in range(0, len(messages), 500):
            stub.WriteEvents(ingestion_pb.WriteEventsRequest(events=messages[start : start + 500]))


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    data = tmp_path_factory.mktemp("world")
    ports = {service: free_port() for service in SERVICES}
    address = {service: f"127.0.0.1:{port}" for service, port in ports.items()}
    environment = {"INGESTION_STORE": f"sqlite:///{data / 'events.db'}", "OMP_NUM_THREADS": "2"}
    # Titles are short and few: compiling for throughput would take longer than all the embedding.
    environment |= {"EMBEDDING_XLA_SHAPES": "[]", "EMBEDDING_MAX_TOKENS": "32"}
    for service in ("candidates", "ranker", "evaluator"):
        environment[f"{service.upper()}_ARTIFACTS"] = str(data / service)
        for neighbour in SERVICES[: SERVICES.index(service)]:
            environment[f"{service.upper()}_{neighbour.upper()}_ADDRESS"] = address[neighbour]
    environment.pop("EVALUATOR_EMBEDDING_ADDRESS")
    with ExitStack() as stack:
        running = {
            service: stack.enter_context(ServiceProcess(service, environment, port=ports[service]))
            for service in SERVICES
        }
        for service, process in running.items():
            (process.wait_ready if service in ("ingestion", "embedding", "evaluator") else process.wait_live)(240)
        events = a_slice()
        write(address["ingestion"], events)
        yield World(address, environment, events)


@pytest.fixture(scope="session")
def trained(world):
    for protocol in Protocol:
        world.train(protocol)
    return world


@pytest.fixture
def open_channel(world):
    def build(service) -> grpc.Channel:
        channel = connect(world.address[service])
        opened.append(channel)
        return channel

    opened: list[grpc.Channel] = []
    yield build
    for channel in opened:
        channel.close()
