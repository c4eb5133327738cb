from __future__ import annotations

import sqlite3

import grpc
import pytest
from fusionrec.common.v1 import event_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb

from services.ingestion.adapters.sqlite_store import SqliteStore
from shared.rpc.status import error_info
from shared.testing.servers import health_status, wait_health


async def test_a_damaged_store_is_not_serving_with_the_reason_and_heals(serving, tmp_path):
    path = tmp_path / "events.db"
    path.write_text("no database" * 1000)
    async with serving(ready=False) as (service, stub):
        while service.lifecycle.reason in {"", "starting"}:
            await wait_health(service.channel, "NOT_SERVING")
        assert "file is not a database" in service.lifecycle.reason
        assert await health_status(service.channel) == "NOT_SERVING"
        assert await health_status(service.channel, "liveness") == "SERVING"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetStats(pb.GetStatsRequest(), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert error_info(caught.value).reason == "DEPENDENCY_UNAVAILABLE"
        assert str(tmp_path) not in caught.value.details()
        path.unlink()
        await wait_health(service.channel, "SERVING")
        assert (await stub.GetStats(pb.GetStatsRequest())).events == 0


async def test_a_newer_schema_is_not_serving_with_the_reason(serving, tmp_path):
    path = tmp_path / "events.db"
    store = SqliteStore(path)
    await store.open()
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    async with serving(ready=False) as (service, _):
        while service.lifecycle.reason in {"", "starting"}:
            await wait_health(service.channel, "NOT_SERVING")
        assert "schema version 99" in service.lifecycle.reason


async def test_a_store_in_use_is_taken_over_when_it_is_free(serving, tmp_path):
    store = SqliteStore(tmp_path / "events.db")
    await store.open()
    async with serving(ready=False) as (service, stub):
        while service.lifecycle.reason in {"", "starting"}:
            await wait_health(service.channel, "NOT_SERVING")
        assert "another server" in service.lifecycle.reason
        await store.close()
        await wait_health(service.channel, "SERVING")
        event = event_pb2.Event(user_id="u", item_id="i", type="EVENT_TYPE_VIEW")
        assert (await stub.WriteEvents(pb.WriteEventsRequest(events=[event]))).results[0].status == 1


async def test_a_full_queue_refuses_with_a_time_to_retry(serving):
    async with serving(max_queued_rows=1000) as (_, stub):
        batches = [
            [event_pb2.Event(user_id="u", item_id=f"{b}", type="EVENT_TYPE_VIEW") for _ in range(1000)]
            for b in range(40)
        ]
        calls = [stub.WriteEvents(pb.WriteEventsRequest(events=batch)) for batch in batches]
        codes = [await call.code() for call in calls]
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        written = (await stub.GetStats(pb.GetStatsRequest())).events
        assert written == 1000 * codes.count(grpc.StatusCode.OK)
