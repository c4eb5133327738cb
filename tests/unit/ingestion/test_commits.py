"""The writer thread, on a real database that is made slow, full or broken."""

from __future__ import annotations

import asyncio
import threading

import pytest

from services.ingestion.adapters.sqlite_commits import GroupCommitter
from services.ingestion.adapters.sqlite_schema import open_writer
from services.ingestion.adapters.sqlite_writes import LogWriter
from shared.data.nouns import Item
from shared.errors import CorruptData, DependencyUnavailable, Overloaded, ShuttingDown
from shared.testing.ingestion_samples import event


class Bench:
    """A committer whose statements are recorded and whose thread can be held."""

    def __init__(self, path, max_queued_rows=1000):
        self.connection = open_writer(path)
        self.statements = []
        self.connection.set_trace_callback(self.statements.append)
        self.ends = []
        self.held, self.go = threading.Event(), threading.Event()
        self.committer = GroupCommitter(
            self.connection, LogWriter(self.connection), max_queued_rows=max_queued_rows, on_commit=self.ends.append
        )

    def hold(self):
        """Keeps the writer thread busy until `go`."""

        def wait(_writer):
            self.held.set()
            self.go.wait(10)

        future = self.committer.submit(wait, rows=1)
        assert self.held.wait(10)
        return future

    def append(self, *numbers):
        events = [event(number) for number in numbers]
        return self.committer.submit(lambda writer: writer.append_events(events), rows=len(events))

    def commits(self):
        return self.statements.count("COMMIT")

    def sequences(self):
        return [row[0] for row in self.connection.execute("SELECT sequence FROM log ORDER BY sequence")]


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "events.db")
    yield bench
    bench.go.set()
    bench.committer.close()
    bench.connection.close()


def test_what_waits_shares_one_commit(bench):
    bench.hold()
    futures = [bench.append(number) for number in range(50)]
    bench.go.set()
    ends = [future.result(10).sequence for future in futures]
    assert ends == list(range(1, 51))
    assert bench.commits() == 2
    assert bench.ends == [0, 50]


def test_an_answer_comes_only_after_its_commit(bench):
    seen = []
    bench.append(1).add_done_callback(lambda _: seen.append(bench.commits()))
    bench.append(2).result(10)
    assert seen
    assert seen[0] >= 1


def test_more_than_may_wait_is_refused_and_taken_again_later(bench):
    bench.hold()
    waiting = [bench.append(number) for number in range(999)]
    with pytest.raises(Overloaded) as caught:
        bench.append(999)
    assert caught.value.retry_after_s
    bench.go.set()
    waiting[-1].result(10)
    # The permits come back after the answers: a job of its own turn waits for that.
    bench.committer.close()
    assert bench.committer._queued_rows == 0
    assert len(bench.sequences()) == 999


def test_a_failing_job_fails_alone(bench):
    def broken(writer):
        writer.append_events([event(7)])
        raise ValueError("a defect")

    bench.hold()
    first, second, third = bench.append(1), bench.committer.submit(broken, rows=1), bench.append(3)
    bench.go.set()
    assert (first.result(10).sequence, third.result(10).sequence) == (1, 2)
    with pytest.raises(ValueError, match="a defect"):
        second.result(10)
    assert bench.sequences() == [1, 2]
    assert bench.append(7).result(10).stored == (True,)


def test_a_caller_that_went_away_costs_nothing(bench):
    bench.hold()
    gone, other = bench.append(1), bench.append(2)
    assert gone.cancel()
    bench.go.set()
    assert other.result(10).sequence == 1


def test_a_full_disk_is_told_to_the_callers_and_heals(bench):
    bench.append(1).result(10)
    pages = bench.connection.execute("PRAGMA page_count").fetchone()[0]
    limit = bench.committer.submit(
        lambda _: bench.connection.execute(f"PRAGMA max_page_count = {pages}").fetchone(), rows=1
    )
    limit.result(10)
    items = [Item(f"i{number}", text="x" * 50_000) for number in range(5)]
    refused = bench.committer.submit(lambda writer: writer.upsert_items(items), rows=5)
    with pytest.raises(DependencyUnavailable) as caught:
        refused.result(10)
    assert "full" not in caught.value.message
    bench.committer.submit(
        lambda _: bench.connection.execute("PRAGMA max_page_count = 1000000").fetchone(), rows=1
    ).result(10)
    assert bench.committer.submit(lambda writer: writer.upsert_items(items), rows=5).result(10).sequence == 6
    assert bench.sequences() == [1, 2, 3, 4, 5, 6]


def test_a_damaged_file_is_data_loss(tmp_path):
    path = tmp_path / "events.db"
    connection = open_writer(path)
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO event_types VALUES (?, 1)", [(n,) for n in range(2000)])
    connection.execute("COMMIT")
    connection.close()
    data = bytearray(path.read_bytes())
    used = 4096 * 10  # the first pages hold the schema and the empty tables' roots
    data[used:] = b"\xa5" * (len(data) - used)
    path.write_bytes(data)
    bench = Bench(path)
    with pytest.raises(CorruptData):
        bench.committer.submit(
            lambda _: bench.connection.execute("SELECT SUM(events) FROM event_types").fetchone(), rows=1
        ).result(10)
    bench.committer.close()
    bench.connection.close()


def test_closing_finishes_what_was_accepted(bench):
    bench.hold()
    future = bench.append(1)
    closer = threading.Thread(target=bench.committer.close)
    closer.start()
    bench.go.set()
    closer.join(10)
    assert future.result(0).sequence == 1
    with pytest.raises(ShuttingDown):
        bench.append(2)


async def test_a_cancelled_call_does_not_disturb_the_others(bench):
    bench.hold()
    task = asyncio.wrap_future(bench.append(1))
    other = asyncio.wrap_future(bench.append(2))
    task.cancel()
    await asyncio.sleep(0)
    bench.go.set()
    assert (await other).sequence == 1
