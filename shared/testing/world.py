"""The five services as processes on a slice of MovieLens: one world for all tests of a run that need the whole path."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from fusionrec.channel import connect
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc

from shared.data.nouns import Event, EventType
from shared.data.preferences import PreferenceRules
from shared.data.splits import TEST_SHARE, by_user, per_user_chronological
from shared.rpc.convert import encode_event, encode_item
from shared.testing.movielens import movielens_events, movielens_items
from shared.testing.processes import ROOT, ServiceProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import grpc

SERVICES = ("ingestion", "embedding", "candidates", "ranker", "evaluator")
READY_UNTRAINED = ("ingestion", "embedding", "evaluator")
NEIGHBOURS = {
    "candidates": ("ingestion", "embedding"),
    "ranker": ("ingestion", "embedding", "candidates"),
    "evaluator": ("ingestion", "candidates", "ranker"),
}
USERS, MIN_RATINGS = 120, 8
SHOWN_EVERY, LISTS_EACH, LIST_SIZE = 3, 4, 5
"""Every third user took the last four likes off lists of five."""
_LOOKED_AT = 1 / np.arange(1, LIST_SIZE + 1)
START_S = 240.0
"""TensorFlow takes its time to start on a busy machine, seconds."""
JOB_S = 280.0


@dataclass(frozen=True)
class World:
    """The running services, their environment, and what was imported."""

    processes: Mapping[str, ServiceProcess]
    environment: Mapping[str, str]
    events: tuple[Event, ...]
    impressions: tuple[Event, ...] = ()
    """Of lists that some of the events came of."""

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


def with_impressions(events: Sequence[Event]) -> tuple[tuple[Event, ...], tuple[Event, ...]]:
    """Returns the events, some with the token of a list that they came of, and the impressions of these lists.

    Some users took their last likes before the test part off lists of five, the others movies that they never rated.
    The higher a place, the more often it was there that they took one.
    """
    random = np.random.default_rng(0)
    movies = sorted({event.item_id for event in events})
    told, impressions = {}, []
    for user, own in by_user(events).items():
        visible = per_user_chronological({user: own}, TEST_SHARE, TEST_SHARE)[user].train
        likes = [event for event in visible if (event.value or 0) >= PreferenceRules().positive_rating]
        for turn, event in enumerate(likes[-LISTS_EACH:] if int(user) % SHOWN_EVERY == 0 else ()):
            others = sorted(set(movies) - {one.item_id for one in own})
            shown = [str(one) for one in random.choice(others, LIST_SIZE - 1, replace=False)]
            place = int(random.choice(LIST_SIZE, p=_LOOKED_AT / _LOOKED_AT.sum()))
            shown.insert(place, event.item_id)
            name = f"shown-{user}-{turn}"
            told[event.event_id] = replace(event, attribution_token=f"{name}.{place + 1}")
            when = event.timestamp - timedelta(seconds=1)
            impressions += [
                Event(
                    token, user, item_id, EventType.IMPRESSION, when, attribution_token=token, position=at, propensity=1
                )
                for at, item_id in enumerate(shown, 1)
                for token in (f"{name}.{at}",)
            ]
    return tuple(told.get(event.event_id, event) for event in events), tuple(impressions)


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
        events, impressions = with_impressions(a_slice())
        with connect(processes["ingestion"].address) as channel:
            write(channel, events)
            write(channel, impressions)
        yield World(processes, environment, events, impressions)
