"""An erasure reaches the write-ahead log: at once, or as soon as the reader that is in the way has gone."""

from __future__ import annotations

import contextlib
import time

import pytest
import structlog

from services.ingestion.adapters.sqlite_commits import GroupCommitter
from services.ingestion.adapters.sqlite_schema import open_reader, open_writer
from services.ingestion.adapters.sqlite_wal import REMIND_S, RETRY_S, WalEmptier
from services.ingestion.adapters.sqlite_writes import LogWriter
from shared.data.nouns import Event, EventType
from shared.testing.ingestion_samples import event

SECRET = "a-secret-review"  # noqa: S105 (a text to be found in a file)


class Bench:
    """A database, its writer connection, and readers that hold a snapshot."""

    def __init__(self, path) -> None:
        self.path = path
        self.wal = path.with_name(path.name + "-wal")
        self.connection = open_writer(path)
        self.now = 0.0

    def write(self) -> None:
        sample = event(1)
        review = Event("e1", sample.user_id, sample.item_id, EventType.REVIEW, sample.timestamp, text=SECRET)
        self.connection.execute("BEGIN IMMEDIATE")
        LogWriter(self.connection).append_events([review])
        self.connection.execute("COMMIT")

    def clock(self) -> float:
        return self.now

    @contextlib.contextmanager
    def reading(self):
        reader = open_reader(self.path)
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM log").fetchone()
        try:
            yield
        finally:
            reader.execute("ROLLBACK")
            reader.close()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "events.db")
    yield bench
    bench.connection.close()


def test_it_is_emptied_at_the_start(bench):
    bench.write()
    assert SECRET.encode() in bench.wal.read_bytes()
    emptier = WalEmptier(bench.connection)
    assert emptier.wait_s == 0
    emptier.attempt()
    assert emptier.wait_s is None
    assert bench.wal.stat().st_size == 0


def test_a_reader_in_the_way_is_waited_for_and_told_of(bench):
    emptier = WalEmptier(bench.connection, bench.clock)
    emptier.attempt()
    bench.write()
    with structlog.testing.capture_logs() as logs, bench.reading():
        emptier.ask()
        emptier.attempt()
        assert emptier.wait_s == RETRY_S
        assert bench.wal.stat().st_size > 0
        bench.now += RETRY_S / 2
        emptier.attempt()  # not due
        assert emptier.wait_s == RETRY_S / 2
        bench.now += RETRY_S / 2
        emptier.attempt()  # told a moment ago
        bench.now += REMIND_S
        emptier.attempt()
    assert [(line["reason"], line["pending_s"]) for line in logs] == [
        ("a reader is in the way", 0.0),
        ("a reader is in the way", REMIND_S + RETRY_S),
    ]
    bench.now += RETRY_S
    with structlog.testing.capture_logs() as logs:
        emptier.attempt()
    assert emptier.wait_s is None
    assert bench.wal.stat().st_size == 0
    assert [line["event"] for line in logs] == ["the write-ahead log was emptied"]


def test_the_writer_is_as_patient_as_before_afterwards(bench):
    emptier = WalEmptier(bench.connection)
    with bench.reading():
        emptier.attempt()
    assert bench.connection.execute("PRAGMA busy_timeout").fetchone() == (5000,)


def test_forgetting_beside_a_reader_is_answered_at_once_and_completed_when_it_is_idle(bench):
    committer = GroupCommitter(
        bench.connection, LogWriter(bench.connection), max_queued_rows=100, on_commit=lambda _end: None
    )
    try:
        review = Event("e1", "u1", "i1", EventType.REVIEW, event(1).timestamp, text=SECRET)
        committer.submit(lambda writer: writer.append_events([review]), rows=1).result(10)
        with bench.reading():
            erased = committer.submit(lambda writer: writer.forget_user("u1"), rows=1, empties_wal=True).result(10)
            assert erased.events_erased == 1
            assert SECRET.encode() in bench.wal.read_bytes()
        until = time.monotonic() + 20
        while bench.wal.stat().st_size:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert SECRET.encode() not in bench.path.read_bytes()
    finally:
        committer.close()
