"""The best of counts that change: exact, whatever was looked at to find them."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from services.candidates.index.allowed import Allowed
from services.candidates.sources import top_counts
from services.candidates.sources.top_counts import TopCounts


@pytest.fixture(autouse=True)
def few_leaders(monkeypatch):
    monkeypatch.setattr(top_counts, "_LEADERS", 40)


def brute_force(values, n, mask):
    rows = np.flatnonzero(mask[: len(values)])
    order = sorted(rows.tolist(), key=lambda row: (-values[row], row))[:n]
    return order, [values[row] for row in order]


def check(counts, n, mask):
    rows, values = counts.best(n, Allowed(mask))
    assert (rows.tolist(), values.tolist()) == brute_force(counts.values.tolist(), n, mask)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_the_best_are_exact_after_any_changes(seed, dtype):
    rng = np.random.default_rng(seed)
    size = 400
    counts = TopCounts((rng.zipf(1.6, size) % 50).astype(dtype))
    for step in range(400):
        match rng.integers(12):
            case 0:
                size += 3
                counts.grow(size)
            case 1 if step % 50 == 7:
                counts.reset()
            case kind:
                row = int(rng.integers(size) if kind < 8 else rng.integers(20))
                (counts.take if kind in {2, 3} else counts.add)(row, int(rng.integers(1, 4)))
        if step % 3 == 0:
            longer = size + int(rng.integers(-5, 6))
            check(counts, int(rng.integers(1, 60)), rng.random(longer) < rng.choice([1.0, 0.7, 0.05]))


def test_equal_counts_around_the_last_leader_come_in_row_order():
    counts = TopCounts(np.ones(300, np.int64))
    check(counts, 40, np.ones(300, bool))
    check(counts, 41, np.ones(300, bool))
    counts.take(5, 1)
    check(counts, 40, np.ones(300, bool))
    counts.take(299, 1)
    counts.add(299, 1)
    check(counts, 40, np.ones(300, bool))


def test_most_questions_look_at_few_rows(monkeypatch):
    size = 50_000
    counts = TopCounts(np.arange(size))
    everything = Allowed.everything(size)
    counts.best(10, everything)
    looked_at = []
    exact = top_counts.best_places
    monkeypatch.setattr(
        top_counts, "best_places", lambda rows, values, n: looked_at.append(len(rows)) or exact(rows, values, n)
    )
    for row in range(200):
        counts.add(row, 1)
        rows, _ = counts.best(10, everything)
        assert rows[0] == size - 1
    assert np.mean(np.array(looked_at) > 100) < 0.05


def test_nothing_allowed_and_nothing_there():
    counts = TopCounts(np.zeros(0, np.int64))
    assert counts.best(5, Allowed(np.ones(3, bool)))[0].tolist() == []
    counts.grow(3)
    assert counts.best(5, Allowed(np.zeros(3, bool)))[0].tolist() == []
    check(counts, 5, np.ones(3, bool))


def test_readers_never_miss_a_count_while_a_writer_adds():
    """Between the counts before a question and those after it lies every place of the answer."""
    rng = np.random.default_rng(1)
    size, n = 3_000, 25
    counts = TopCounts(rng.integers(0, 30, size))
    everything = Allowed.everything(size)
    stop = threading.Event()
    wrong = []

    def write():
        rows = rng.integers(0, size, 60_000).tolist()
        for row in rows:
            counts.add(row, 1)
            if stop.is_set():
                return
        stop.set()

    def read():
        while not stop.is_set():
            before = np.sort(counts.values)[::-1][:n].copy()
            rows, values = counts.best(n, everything)
            after = np.sort(counts.values)[::-1][:n]
            ordered = np.all(values[:-1] >= values[1:])
            if len(set(rows.tolist())) != n or not ordered or (values < before).any() or (values > after).any():
                wrong.append((rows, values, before, after))
                stop.set()

    threads = [threading.Thread(target=target) for target in (write, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    check(counts, n, np.ones(size, bool))
