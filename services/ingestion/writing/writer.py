"""Writes batches whose elements were checked one by one, and tells what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias

from shared.data.nouns import Event, Item
from shared.errors import Violation
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client import Counter

    from services.ingestion.ports import Catalogue, EventLog

CheckedEvents: TypeAlias = "Sequence[Event | Violation]"
CheckedItems: TypeAlias = "Sequence[Item | Violation]"


class Status(IntEnum):
    """What became of one element; the numbers of `fusionrec.ingestion.v1.WriteStatus`."""

    ACCEPTED = 1
    DUPLICATE = 2
    REJECTED = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one element: its id, or why it was rejected."""

    status: Status
    id: str = ""
    violation: Violation | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch: outcomes in order, the end of the log, stored events with unknown items."""

    outcomes: list[Outcome]
    sequence: int
    unknown_items: int = 0


class BatchWriter:
    """Passes the valid elements of a batch to the store; rejects the others without failing their neighbours."""

    def __init__(self, log: EventLog, catalogue: Catalogue) -> None:
        self._log = log
        self._catalogue = catalogue
        self.rejected_events = 0

    async def write_events(self, batch: CheckedEvents) -> Written:
        """Writes the events of a batch; returns when they are durable.

        Raises:
            Overloaded: too much waits to be written.

        """
        valid = [event for event in batch if isinstance(event, Event)]
        self.rejected_events += len(batch) - len(valid)
        appended = await self._log.append_events(valid)
        outcomes = _outcomes(batch, iter(appended.stored))
        _count(metrics.EVENTS_WRITTEN, outcomes)
        return Written(outcomes, appended.sequence, appended.unknown_items)

    async def write_items(self, batch: CheckedItems) -> Written:
        """Writes the items of a batch; returns when they are durable.

        Raises:
            Overloaded: too much waits to be written.

        """
        upserted = await self._catalogue.upsert_items([item for item in batch if isinstance(item, Item)])
        outcomes = _outcomes(batch, iter(upserted.stored))
        _count(metrics.ITEMS_WRITTEN, outcomes)
        return Written(outcomes, upserted.sequence)


def _outcomes(batch: Iterable[Event | Item | Violation], stored: Iterable[bool]) -> list[Outcome]:
    flags = iter(stored)
    outcomes = []
    for element in batch:
        if isinstance(element, Violation):
            outcomes.append(Outcome(Status.REJECTED, violation=element))
            continue
        key = element.event_id if isinstance(element, Event) else element.item_id
        outcomes.append(Outcome(Status.ACCEPTED if next(flags) else Status.DUPLICATE, key))
    return outcomes


def _count(counter: Counter, outcomes: Iterable[Outcome]) -> None:
    statuses = [outcome.status for outcome in outcomes]
    for status in Status:
        counter.labels(status.name.lower()).inc(statuses.count(status))
