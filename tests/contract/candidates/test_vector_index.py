"""The index that is filled and written in place, against numpy."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.index.allowed import Allowed


@pytest.fixture
def vectors():
    return np.random.default_rng(1).standard_normal((500, 24)).astype(np.float32)


@pytest.fixture
def index(vectors):
    index = FlatIndex(24)
    index.put(np.arange(500), vectors)
    return index


@pytest.mark.parametrize("share", [1.0, 0.3, 0.01])
def test_search_finds_the_best_of_the_allowed(index, vectors, share):
    rng = np.random.default_rng(2)
    allowed = rng.random(500) < share
    allowed[:3] = True
    query = rng.standard_normal(24).astype(np.float32)
    rows, scores = index.search(query, 40, Allowed(allowed))
    expected = np.flatnonzero(allowed)[np.argsort(-(vectors[allowed] @ query))][:40]
    assert rows.tolist() == expected.tolist()
    np.testing.assert_allclose(scores, vectors[rows] @ query, rtol=1e-4, atol=1e-5)


def test_fewer_allowed_than_asked(index):
    allowed = np.zeros(500, bool)
    allowed[[7, 9]] = True
    assert sorted(index.search(np.ones(24, np.float32), 100, Allowed(allowed))[0].tolist()) == [7, 9]
    assert len(index.search(np.ones(24, np.float32), 100, Allowed(np.zeros(500, bool)))[0]) == 0


def test_vectors_are_counted_from_a_row_on(index):
    index.put(np.array([1_700]), np.ones((1, 24), np.float32))
    index.remove(np.array([499]))
    assert [index.count_from(row) for row in (0, 498, 499, 500, 1_701, 9_999)] == [500, 2, 1, 1, 0, 0]


def test_a_query_without_a_direction_is_refused(index):
    with pytest.raises(ValueError, match="finite"):
        index.search(np.full(24, np.nan, np.float32), 5, Allowed.everything(500))


def test_equal_scores_come_in_row_order():
    index = FlatIndex(2)
    index.put(np.arange(10), np.ones((10, 2), np.float32))
    assert index.search(np.ones(2, np.float32), 10, Allowed.everything(10))[0].tolist() == list(range(10))


def test_added_replaced_and_removed_rows_are_seen_at_once(index):
    query = np.zeros(24, np.float32)
    query[0] = 1
    every = Allowed.everything(2_000)
    big = np.full((1, 24), 50, np.float32)
    index.put(np.array([1_700]), big)
    assert index.search(query, 1, every)[0].tolist() == [1_700]
    index.put(np.array([3]), 2 * big)
    assert index.search(query, 1, every)[0].tolist() == [3]
    index.remove(np.array([3]))
    assert index.search(query, 1, every)[0].tolist() == [1_700]
    assert index.count == 500
    assert np.isnan(index.vectors(np.array([3, 5_000]))).all()


def test_growing_keeps_what_was_there(index, vectors):
    index.put(np.arange(500, 5_000), np.zeros((4_500, 24), np.float32))
    np.testing.assert_array_equal(index.vectors(np.arange(500)), vectors)
    assert index.count == 5_000


def test_searches_go_on_while_rows_arrive(index, vectors):
    failures = []
    stop = threading.Event()
    allowed = Allowed.everything(500)
    query = vectors[0]
    expected = index.search(query, 10, allowed)[0].tolist()

    def search():
        while not stop.is_set():
            if index.search(query, 10, allowed)[0].tolist() != expected:
                failures.append(1)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(500, 40_000, 500):
        index.put(np.arange(start, start + 500), np.zeros((500, 24), np.float32))
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("rows", [5, 257, 1_001, 1_003])
def test_equal_vectors_score_the_same_wherever_they_stand(rows, share):
    rng = np.random.default_rng(rows)
    index = FlatIndex(63)
    index.put(np.arange(rows), np.tile(rng.standard_normal(63).astype(np.float32), (rows, 1)))
    mask = rng.random(rows) < share
    mask[-1] = True
    found, scores = index.search(rng.standard_normal(63).astype(np.float32), rows, Allowed(mask))
    assert found.tolist() == np.flatnonzero(mask).tolist()
    assert len(set(scores.tolist())) == 1


def test_vectors_that_were_taken_out_or_are_not_allowed_cannot_spoil_a_search(index):
    index.put(np.array([5, 6]), np.full((2, 24), 3e38, np.float32))
    index.remove(np.array([5]))
    allowed = np.ones(500, bool)
    allowed[6] = False
    assert len(index.search(np.full(24, 3, np.float32), 499, Allowed(allowed))[0]) == 498
