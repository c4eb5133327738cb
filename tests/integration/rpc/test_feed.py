"""Reading the log over a real connection: replay, follow, resume, a log that was replaced."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime

import pytest
import structlog
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as pb_grpc

from shared.data.nouns import Event, EventType, Item, ItemDeleted, LogRecord, UserForgotten
from shared.errors import DependencyUnavailable, StaleCursor
from shared.rpc.client import open_channel
from shared.rpc.convert import encode_event, encode_item, encode_time
from shared.rpc.feed import LogFeed, read_snapshot
from shared.testing.processes import free_port
from shared.testing.servers import served

T = datetime(2024, 1, 1, tzinfo=UTC)


class Log(pb_grpc.IngestionServiceServicer):
    """A log in a list, served batch by batch. Cursors are "<log name>:<position>"."""

    service_names = ("fusionrec.ingestion.v1.IngestionService",)

    def __init__(self) -> None:
        self.name = "one"
        self.records: list[pb.LogRecord] = []
        self.requests: list[pb.ReadEventsRequest] = []
        self.open = 0
        self.stopping = asyncio.Event()

    def append(self, body: Event | Item | ItemDeleted | UserForgotten) -> None:
        record = pb.LogRecord(sequence=10 * (len(self.records) + 1), appended_at=encode_time(T))
        match body:
            case Event():
                record.event.CopyFrom(encode_event(body))
            case Item():
                record.item_upserted.CopyFrom(encode_item(body))
            case ItemDeleted(item_id):
                record.item_deleted = item_id
            case UserForgotten(user_id):
                record.user_forgotten = user_id
        self.records.append(record)

    def register(self, server) -> None:
        pb_grpc.add_IngestionServiceServicer_to_server(self, server)

    async def start(self, lifecycle) -> None:
        self.stopping = lifecycle.stopping
        await lifecycle.ready()

    async def stop(self) -> None:
        pass

    async def ReadEvents(self, request, context):  # noqa: N802, ARG002 (the contract's name, gRPC's signature)
        self.requests.append(request)
        self.open += 1
        try:
            async for message in self._read(request):
                yield message
        finally:
            self.open -= 1

    async def _read(self, request):
        name, _, position = (request.cursor or f"{self.name}:0").partition(":")
        if name != self.name:
            raise StaleCursor("the cursor is of another log")
        at = int(position)
        while not self.stopping.is_set():
            batch = self.records[at : at + 2]
            at += len(batch)
            caught_up = at == len(self.records)
            if batch or not request.follow:
                yield pb.ReadEventsResponse(records=batch, cursor=f"{self.name}:{at}", caught_up=caught_up)
            if caught_up and not request.follow:
                return
            await asyncio.sleep(0.01)


def event(user: str, item: str) -> Event:
    return Event(f"{user}-{item}", user, item, EventType.CLICK, T)


@pytest.fixture
def log():
    log = Log()
    log.append(Item("i1", title="First"))
    log.append(event("u1", "i1"))
    log.append(event("u2", "i1"))
    log.append(Item("i2", title="Second"))
    log.append(ItemDeleted("i1"))
    log.append(event("u1", "i2"))
    log.append(UserForgotten("u2"))
    return log


@pytest.fixture
async def channel(log, settings):
    async with served(log, settings, "ingestion") as server, open_channel(server.address) as channel:
        yield channel


async def test_the_log_is_read_whole_and_in_order(channel, log):
    batches = [batch async for batch in LogFeed(channel).read()]
    records = [record for batch in batches for record in batch.records]
    assert [record.sequence for record in records] == [10, 20, 30, 40, 50, 60, 70]
    assert records[1] == LogRecord(20, T, event("u1", "i1"))
    assert records[4].body == ItemDeleted("i1")
    assert records[6].body == UserForgotten("u2")
    assert [batch.caught_up for batch in batches] == [False, False, False, True]
    assert batches[-1].cursor == "one:7"
    assert len(log.requests) == 1


async def test_a_record_that_cannot_be_read_is_skipped_and_named(channel, log):
    log.records[1].event.type = 99
    log.records[3].item_upserted.item_id = "x" * 300
    log.records[5].ClearField("event")
    with structlog.testing.capture_logs() as logs:
        async with aclosing(LogFeed(channel).follow(lambda: pytest.fail("reset"))) as batches:
            assert await take(batches, 4) == [10, 30, 50, 70]
            log.append(event("u3", "i2"))
            assert await take(batches, 1) == [80]
    assert [line["sequence"] for line in logs if line["log_level"] == "error"] == [20, 40, 60]
    assert not [line for line in logs if "does not answer" in line["event"]]
    assert len(log.requests) == 1
    assert (await read_snapshot(LogFeed(channel))).sequence == 80


async def test_reading_goes_on_from_a_cursor_and_leaves_out_types(channel, log):
    feed = LogFeed(channel, exclude_types=[EventType.IMPRESSION])
    (batch,) = [batch async for batch in feed.read("one:5")]
    assert [record.sequence for record in batch.records] == [60, 70]
    assert list(log.requests[0].exclude_types) == [EventType.IMPRESSION]


async def test_a_snapshot_is_the_state_at_the_end(channel):
    told = []
    snapshot = await read_snapshot(LogFeed(channel), on_batch=told.append)
    assert [one.event_id for one in snapshot.events] == ["u1-i1", "u1-i2"]
    assert sorted(snapshot.items) == ["i2"]
    assert (snapshot.sequence, snapshot.cursor, sum(told)) == (70, "one:7", 7)


async def test_a_snapshot_up_to_a_record_is_the_state_then(channel):
    snapshot = await read_snapshot(LogFeed(channel), up_to=40)
    assert [one.event_id for one in snapshot.events] == ["u1-i1", "u2-i1"]
    assert sorted(snapshot.items) == ["i1", "i2"]
    assert snapshot.sequence == 40


async def test_a_stale_cursor_is_told(channel):
    with pytest.raises(StaleCursor):
        await anext(LogFeed(channel).read("other:3"))


async def test_without_a_server_a_job_is_told(settings):  # noqa: ARG001 (the same settings as its neighbours)
    async with open_channel("127.0.0.1:1") as channel:
        with pytest.raises(DependencyUnavailable, match="ingestion does not answer"):
            await read_snapshot(LogFeed(channel))


async def take(batches, count: int) -> list[int]:
    """Returns the sequences of the next `count` records."""
    seen = []
    async with asyncio.timeout(20):
        while len(seen) < count:
            seen.extend(record.sequence for record in (await anext(batches)).records)
    return seen


async def test_a_follower_sees_what_is_appended(channel, log):
    async with aclosing(LogFeed(channel).follow(lambda: pytest.fail("reset"))) as batches:
        assert await take(batches, 7) == [10, 20, 30, 40, 50, 60, 70]
        log.append(event("u3", "i2"))
        assert await take(batches, 1) == [80]


async def test_a_follower_outlives_the_server_and_misses_nothing(log, settings):
    settings = settings.model_copy(update={"port": free_port()})
    async with (
        open_channel(f"127.0.0.1:{settings.port}") as channel,
        aclosing(LogFeed(channel).follow(lambda: pytest.fail("reset"))) as batches,
    ):
        async with served(log, settings, "ingestion"):
            assert await take(batches, 7) == [10, 20, 30, 40, 50, 60, 70]
        log.append(event("u3", "i2"))
        waiting = asyncio.ensure_future(take(batches, 1))
        async with served(log, settings, "ingestion"):
            assert await waiting == [80]
    assert log.requests[-1].cursor == "one:7"


async def test_a_follower_begins_anew_when_the_log_was_replaced(channel, log):
    resets = []
    async with aclosing(LogFeed(channel).follow(lambda: resets.append(1), "before:99")) as batches:
        assert await take(batches, 7) == [10, 20, 30, 40, 50, 60, 70]
    assert len(resets) == 1
    assert [request.cursor for request in log.requests] == ["before:99", ""]


@pytest.mark.parametrize("read", [lambda feed: feed.follow(lambda: None), lambda feed: feed.read(follow=True)])
async def test_closing_a_reader_ends_its_call(channel, log, read):
    async with aclosing(read(LogFeed(channel))) as batches:
        await take(batches, 7)
        assert log.open == 1
    async with asyncio.timeout(10):
        while log.open:
            await asyncio.sleep(0.01)
