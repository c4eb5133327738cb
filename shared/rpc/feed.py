"""Reads the event log of ingestion: all of it for a job, for ever for a live follower."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog
from fusionrec.common.v1 import event_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as pb_grpc

from shared.data.log import LogBatch, LogSnapshot
from shared.data.nouns import Event, EventType, Item, ItemDeleted, LogRecord, UserForgotten
from shared.errors import FieldError, FusionrecError, InvalidField, StaleCursor
from shared.rpc import client
from shared.rpc.convert import decode_item, decode_time, read_event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence

    import grpc.aio

log = structlog.get_logger(__name__)

COMPONENT = "ingestion"


def decode_record(message: pb.LogRecord) -> LogRecord:
    """Returns the record of a message of our own ingestion service.

    Raises:
        FieldError: it breaks a rule of the contract, or is of a kind that this version does not know.
        ValueError: its event is of a type that this version does not know.

    """
    kind = message.WhichOneof("record")
    appended_at = decode_time(message.appended_at, "record.appended_at")
    body: Event | Item | ItemDeleted | UserForgotten
    if kind == "event":
        body = read_event(message.event)
    elif kind == "item_upserted":
        body = decode_item(message.item_upserted, "record.item_upserted")
    elif kind == "item_deleted":
        body = ItemDeleted(message.item_deleted)
    elif kind == "user_forgotten":
        body = UserForgotten(message.user_forgotten)
    else:
        raise InvalidField("record", "an unknown kind", "a kind of this version", "update this service")
    return LogRecord(message.sequence, appended_at, body)


class LogFeed:
    """Reads the log over one channel to ingestion."""

    def __init__(self, channel: grpc.aio.Channel, *, exclude_types: Sequence[EventType] = ()) -> None:
        self._stub = pb_grpc.IngestionServiceStub(channel)
        self._exclude = [event_pb2.EventType.ValueType(t) for t in exclude_types]

    async def read(self, cursor: str = "", *, follow: bool = False) -> AsyncGenerator[LogBatch]:
        """Yields the log from `cursor` on; ends at its end unless `follow`. Records that cannot be read are left out.

        Raises:
            DependencyUnavailable: ingestion does not answer.
            StaleCursor: the cursor is of another log.

        """
        request = pb.ReadEventsRequest(cursor=cursor, follow=follow, exclude_types=self._exclude)
        async with contextlib.aclosing(client.stream(self._stub.ReadEvents(request), COMPONENT)) as messages:
            async for message in messages:
                yield LogBatch(list(_readable(message.records)), message.cursor, message.caught_up)

    async def follow(self, on_reset: Callable[[], None], cursor: str = "") -> AsyncGenerator[LogBatch]:
        """Yields the log for ever, resuming after every interruption.

        When the log turns out to be another one, `on_reset` is called (drop the live state) and reading
        begins anew.
        """
        delay = 0.1
        while True:
            try:
                async with contextlib.aclosing(self.read(cursor, follow=True)) as batches:
                    async for batch in batches:
                        cursor = batch.cursor
                        delay = 0.1
                        yield batch
            except StaleCursor:
                log.warning("the log was replaced; reading it from the start")
                on_reset()
                cursor = ""
            except FusionrecError as error:
                log.info("the log does not answer", reason=error.message, retry_s=delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 1.0)


def _readable(messages: Iterable[pb.LogRecord]) -> Iterator[LogRecord]:
    """Yields the records that can be decoded: the log does not change, the others would stop a reader for good."""
    for message in messages:
        try:
            yield decode_record(message)
        except (FieldError, ValueError) as error:
            log.error("a record of the log was skipped", sequence=message.sequence, reason=str(error))  # noqa: TRY400 (the data is wrong, not the code: a line, not a traceback)


async def read_snapshot(
    feed: LogFeed, *, up_to: int | None = None, on_batch: Callable[[int], None] | None = None
) -> LogSnapshot:
    """Reads the log from the start; stops after sequence `up_to` when that is given.

    `on_batch(records)` is told of progress.

    Raises:
        DependencyUnavailable: ingestion does not answer.

    """
    snapshot = LogSnapshot()
    async with contextlib.aclosing(feed.read()) as batches:
        async for batch in batches:
            for record in batch.records:
                if up_to is not None and record.sequence > up_to:
                    return snapshot
                snapshot.apply(record)
            snapshot.cursor = batch.cursor
            if on_batch is not None:
                on_batch(len(batch.records))
    return snapshot
