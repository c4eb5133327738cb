"""A real process, killed in the middle of concurrent writes."""

from __future__ import annotations

import sqlite3
import threading
import time

import grpc
import pytest
from fusionrec.channel import connect
from fusionrec.common.v1 import event_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as pb_grpc

from shared.testing.processes import ServiceProcess

WRITERS = 6
BATCH = 20


@pytest.fixture
def process(tmp_path):
    env = {"INGESTION_STORE": f"sqlite:///{tmp_path}/events.db", "INGESTION_GRACE_S": "30"}
    with ServiceProcess("ingestion", env) as process:
        process.wait_ready()
        yield process


def batch_of(writer, number):
    return [
        event_pb2.Event(event_id=f"{writer}.{number}.{n}", user_id=f"u{writer}", item_id=f"{n}", type=2, text="x" * 200)
        for n in range(BATCH)
    ]


def write_until_killed(address, writer, acknowledged):
    with connect(address) as channel:
        stub = pb_grpc.IngestionServiceStub(channel)
        for number in range(100_000):
            try:
                answer = stub.WriteEvents(pb.WriteEventsRequest(events=batch_of(writer, number)), timeout=10)
            except grpc.RpcError:
                return
            assert all(result.status == 1 for result in answer.results)
            acknowledged.append((writer, number))


def read_all(address):
    with connect(address) as channel:
        messages = list(pb_grpc.IngestionServiceStub(channel).ReadEvents(pb.ReadEventsRequest(), timeout=60))
    return [record for message in messages for record in message.records]


def test_what_was_acknowledged_survives_kill_9(process, tmp_path):
    acknowledged = []
    for round_number in range(2):
        before = len(acknowledged)
        writers = [
            threading.Thread(target=write_until_killed, args=(process.address, f"{round_number}-{n}", acknowledged))
            for n in range(WRITERS)
        ]
        for writer in writers:
            writer.start()
        while len(acknowledged) < before + 60:
            time.sleep(0.01)
        process.kill9()
        for writer in writers:
            writer.join(30)
        process.start()
        process.wait_ready()

        records = read_all(process.address)
        sequences = [record.sequence for record in records]
        assert sequences == sorted(set(sequences))
        stored = [record.event.event_id for record in records]
        assert len(set(stored)) == len(stored)
        missing = {f"{w}.{n}.{i}" for w, n in acknowledged for i in range(BATCH)} - set(stored)
        assert not missing
        # Whole batches only: what was not acknowledged is there as a whole or not at all.
        batches = {tuple(one.rsplit(".", 1)[0].split(".")) for one in stored}
        assert len(stored) == len(batches) * BATCH
        assert all(record.event.text == "x" * 200 for record in records)

    assert process.terminate() == 0
    with sqlite3.connect(tmp_path / "events.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT SUM(events) FROM event_types").fetchone() == (len(records),)
    connection.close()


def test_sigterm_ends_a_server_with_a_follower_at_once(process):
    with connect(process.address) as channel:
        following = pb_grpc.IngestionServiceStub(channel).ReadEvents(pb.ReadEventsRequest(follow=True))
        assert next(following).caught_up
        # The grace is 30 seconds: `terminate` would time out if the follower used it up.
        assert process.terminate(timeout=15) == 0
        assert list(following) == []
        assert following.code() is grpc.StatusCode.OK


def test_a_second_server_on_the_port_says_so(process, tmp_path):
    with ServiceProcess("ingestion", {"INGESTION_STORE": f"sqlite:///{tmp_path}/b.db"}, port=process.port) as second:
        assert second.wait_exit() == 1
        assert "INGESTION_PORT" in second.log
