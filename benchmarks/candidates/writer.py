"""Writes events and new items to ingestion at a steady rate, from a process of its own. `writes.py` starts it.

Fifty times a second one batch of events, and one of items when some are due; it prints what it wrote and how late it
was.
"""

from __future__ import annotations

import json
import random
import sys
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from fusionrec.channel import connect
from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TICK_S = 0.02
TIMEOUT_S = 10
KINDS = (event_pb2.EVENT_TYPE_LIKE, event_pb2.EVENT_TYPE_VIEW)
GENRES = ("Comedy", "Drama", "Action", "Thriller", "Romance", "Adventure", "Horror", "Crime")
WORDS = ("night", "river", "stranger", "garden", "empire", "winter", "signal", "promise", "harbour", "machine")


@dataclass(frozen=True)
class Rate:
    """What is written, per second."""

    events: int
    items: int


class Writer:
    """Makes batches of random writes; the same seed makes the same ones, but for the ids of the items."""

    def __init__(self, users: Sequence[str], items: Sequence[str], rate: Rate, seed: int) -> None:
        self._users = users
        self._items = items
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311 (a load, not secrets)

    def events(self) -> pb.WriteEventsRequest:
        """Returns the events of one tick: each a like or a view by a random user of a random item."""
        picked = [
            event_pb2.Event(
                event_id=uuid.uuid4().hex,
                user_id=self._random.choice(self._users),
                item_id=self._random.choice(self._items),
                type=self._random.choice(KINDS),
            )
            for _ in range(round(self._rate.events * TICK_S))
        ]
        return pb.WriteEventsRequest(events=picked)

    def items(self, tick: int) -> pb.UpsertItemsRequest:
        """Returns the new items of this tick, counted from 0: a title and a genre each."""
        before, now = (int(ticks * self._rate.items * TICK_S) for ticks in (tick, tick + 1))
        return pb.UpsertItemsRequest(items=[self._item() for _ in range(now - before)])

    def _item(self) -> item_pb2.Item:
        title = " ".join(["The", *(word.title() for word in self._random.sample(WORDS, 3))])
        return item_pb2.Item(item_id=f"new-{uuid.uuid4().hex}", title=title, categories=[self._random.choice(GENRES)])


def run(address: str, writer: Writer, seconds: float) -> dict[str, float]:
    """Writes for `seconds`; a late tick is made up for at once."""
    written = {"events": 0, "items": 0, "failed": 0}
    late = 0.0
    with connect(address) as channel:
        stub = pb_grpc.IngestionServiceStub(channel)
        started = time.perf_counter()
        for tick in range(round(seconds / TICK_S)):
            due = started + tick * TICK_S
            time.sleep(max(0.0, due - time.perf_counter()))
            late = max(late, time.perf_counter() - due)
            events, items = writer.events(), writer.items(tick)
            try:
                written["events"] += _accepted(stub.WriteEvents(events, timeout=TIMEOUT_S).results)
                if items.items:
                    written["items"] += _accepted(stub.UpsertItems(items, timeout=TIMEOUT_S).results)
            except grpc.RpcError:
                written["failed"] += 1
        took = time.perf_counter() - started
    return {
        "events_per_s": round(written["events"] / took, 1),
        "items_per_s": round(written["items"] / took, 1),
        "failed_calls": written["failed"],
        "latest_s": round(late, 3),
    }


def _accepted(results: Iterable[pb.WriteResult]) -> int:
    return sum(one.status == pb.WRITE_STATUS_ACCEPTED for one in results)


def main() -> None:
    """Reads options from standard input as JSON, writes, prints what was written as JSON."""
    options = json.load(sys.stdin)
    rate = Rate(options["events_per_s"], options["items_per_s"])
    writer = Writer(options["users"], options["items"], rate, options["seed"])
    print(json.dumps(run(options["address"], writer, options["seconds"])))


if __name__ == "__main__":
    main()
