"""Sends a file's rows to ingestion: a few batches under way, each answer accounted for in order."""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb

from shared.cli.calls import CallFailed
from shared.cli.console import Refusal, say
from shared.cli.importing.batches import batches
from shared.cli.importing.checkpoint import Progress
from shared.cli.importing.rejects import Reject, Rejects

if TYPE_CHECKING:
    from pathlib import Path

    from shared.cli.calls import Pending, Services
    from shared.cli.console import Bars
    from shared.cli.importing.batches import Batch, Converter
    from shared.cli.importing.checkpoint import Checkpoint
    from shared.cli.readers import Source

PATIENCE_S = 20.0
"""How long a batch is sent again while ingestion is away or overloaded, seconds."""
_ELEMENT = re.compile(r"^(events|items)\[\d+\]\.")


@dataclass(frozen=True)
class Writing:
    """How one kind of row is written. `window` batches are under way at once."""

    what: str
    method: str
    window: int

    def request(self, messages: list[Any]) -> Any:
        """Returns the request with these messages."""
        if self.what == "events":
            return pb.WriteEventsRequest(events=messages)
        return pb.UpsertItemsRequest(items=messages)


EVENTS = Writing("events", "WriteEvents", window=4)
# The last of several rows with the same item id must win, so the batches must not overtake each other.
ITEMS = Writing("items", "UpsertItems", window=1)


def resume(services: Services, checkpoint: Checkpoint) -> Progress:
    """Returns where to begin: after the rows of an interrupted import, unless the log is another one by now."""
    progress = checkpoint.load()
    if not progress.cursor:
        return Progress()
    try:
        services.first("ingestion", "ReadEvents", pb.ReadEventsRequest(cursor=progress.cursor, batch_size=1))
    except CallFailed as failed:
        if not failed.stale:
            raise services.refusal("ingestion", failed) from failed
        say(
            "an import of this file was interrupted, but the event log is another one by now: "
            "starting from the first row"
        )
        checkpoint.drop()
        return Progress()
    say(f"an import of this file was interrupted: going on after row {progress.rows:,}")
    return progress


class Pipeline:
    """One import. `run` returns what became of all rows of the file."""

    def __init__(self, services: Services, writing: Writing, source: Source, name: str, bars: Bars) -> None:
        self._services = services
        self._writing = writing
        self._source = source
        self._name = name
        self._bars = bars

    def run(
        self, converter: Converter, progress: Progress, checkpoint: Checkpoint, rejects_file: Path | None
    ) -> Progress:
        """Sends the rows after `progress.rows`.

        Raises:
            Refusal: ingestion does not answer or refuses a batch; what was stored before stays noted.

        """
        under_way: deque[tuple[Batch, Pending | None]] = deque()
        kept = Rejects(self._name, self._source.unit, rejects_file, progress.rejects_bytes, progress.rejected)
        try:
            with kept as rejects:
                for batch in batches(self._source, converter, skip=progress.rows):
                    under_way.append((batch, self._start(batch)))
                    if len(under_way) >= self._writing.window:
                        self._settle(*under_way.popleft(), progress, rejects, checkpoint)
                while under_way:
                    self._settle(*under_way.popleft(), progress, rejects, checkpoint)
        except BaseException:
            for _, pending in under_way:
                if pending is not None:
                    pending.cancel()
            raise
        checkpoint.drop()
        self._show(self._source.total, progress)
        return progress

    def _start(self, batch: Batch) -> Pending | None:
        if not batch.messages:
            return None
        return self._services.start("ingestion", self._writing.method, self._writing.request(batch.messages))

    def _settle(
        self, batch: Batch, pending: Pending | None, progress: Progress, rejects: Rejects, checkpoint: Checkpoint
    ) -> None:
        """Waits for a batch's answer, counts its rows, and only then notes them as done."""
        refused = list(batch.rejects)
        if pending is not None:
            answer = self._answer(batch, pending)
            refused += _count(batch, answer, progress)
            progress.unknown_items += getattr(answer, "unknown_items", 0)
            progress.cursor = answer.cursor
        for reject in sorted(refused, key=lambda one: one.line):
            rejects.add(reject)
        rejects.flush()
        progress.rejected += len(refused)
        progress.rows += batch.rows
        progress.rejects_bytes = rejects.bytes
        checkpoint.save(progress)
        self._show(batch.position, progress)

    def _answer(self, batch: Batch, pending: Pending) -> Any:
        """Returns the answer to a batch, sending it again while that can help: writing twice stores once."""
        until = time.monotonic() + PATIENCE_S
        delay = 0.25
        while True:
            try:
                return pending.result()
            except CallFailed as failed:
                if not failed.passing or time.monotonic() > until:
                    reason = self._services.refusal("ingestion", failed).message
                    raise Refusal(f"{reason}\nThe same command goes on where this one stopped") from failed
            time.sleep(delay)
            delay = min(delay * 2, 4.0)
            request = self._writing.request(batch.messages)
            pending = self._services.start("ingestion", self._writing.method, request)

    def _show(self, position: int, progress: Progress) -> None:
        note = f"{progress.rows:,} rows" + (f", {progress.rejected:,} rejected" if progress.rejected else "")
        self._bars.update(f"{self._writing.what} of {self._name}", position, max(self._source.total, 1), note)


def _count(batch: Batch, answer: Any, progress: Progress) -> list[Reject]:
    """Adds the results to the counts; returns the rejected rows.

    Raises:
        Refusal: the answer does not account for every row.

    """
    if len(answer.results) != len(batch.sent):
        raise Refusal(
            f"ingestion answered for {len(answer.results)} of {len(batch.sent)} rows: the versions do not fit"
        )
    refused = []
    for row, result in zip(batch.sent, answer.results, strict=True):
        if result.status == pb.WRITE_STATUS_ACCEPTED:
            progress.accepted += 1
        elif result.status == pb.WRITE_STATUS_DUPLICATE:
            progress.duplicate += 1
        else:
            refused.append(Reject(row.line, _reason(result.violation), dict(row.values)))
    return refused


def _reason(violation: Any) -> str:
    field = _ELEMENT.sub("", violation.field)
    return f"{field} = {violation.value!r} breaks the limit {violation.limit}: {violation.hint}"
