"""Indexes that are built, of every type, against brute force: found, filtered, written to, rebuilt, saved."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.index.allowed import Allowed
from services.candidates.index.choice import choose_type
from services.candidates.index.parameters import TYPES, IndexParameters

N, DIM = 6_000, 16
EVERY = Allowed.everything(N)


def parameters(kind, **fields):
    few = {
        "exact_rows": 100,
        "rebuild_rows": 50,
        "rebuild_share": 0.01,
        "threads": 1,
        "nprobe": 4,
        "target_recall": 0.98,
    }
    return IndexParameters(type=kind, **{**few, **fields})


def clustered(seed=5):
    """60 clusters of lengths that differ, as factors have."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((60, DIM))
    vectors = centres[rng.integers(60, size=N)] + 0.4 * rng.standard_normal((N, DIM))
    return (vectors * rng.lognormal(0, 0.3, (N, 1))).astype(np.float32)


@pytest.fixture(scope="module", params=TYPES)
def built(request):
    vectors = clustered()
    vectors[[17, 4_000]] = np.nan
    return request.param, vectors, FaissIndexes(parameters(request.param))


@pytest.fixture
def large(built, tmp_path):
    """An index that a test may write to: opened from its files, which are those of one build."""
    kind, vectors, indexes = built
    if kind not in _SAVED:
        _SAVED[kind] = indexes.build(vectors)
    indexes.save(_SAVED[kind], tmp_path / "index", "e1")
    return vectors, indexes.open(tmp_path / "index", "e1")


_SAVED = {}


def best(vectors, query, n, mask=None):
    scores = np.nan_to_num(vectors @ query, nan=-np.inf)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    order = np.argsort(-scores, kind="stable")[:n]
    return order[np.isfinite(scores[order])]


def queries(count=20):
    rng = np.random.default_rng(8)
    vectors = clustered()
    return vectors[rng.choice(N, (count, 4))].mean(axis=1)


def recall(index, vectors, n, mask=None):
    allowed = EVERY if mask is None else Allowed(mask)
    return np.mean([np.isin(best(vectors, q, n, mask), index.search(q, n, allowed)[0]).mean() for q in queries()])


def test_the_true_best_are_found(large):
    vectors, index = large
    assert index.count == N - 2
    assert index.recall_at_100 >= 0.95
    assert recall(index, vectors, 100) >= 0.95
    rows, scores = index.search(queries()[0], 100, EVERY)
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_allclose(scores, vectors[rows] @ queries()[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_a_filter_still_fills_the_list(large, share):
    vectors, index = large
    mask = np.random.default_rng(1).random(N) < share
    mask[[17, 4_000]] = True
    for query in queries(5):
        expected = best(vectors, query, 40, mask)
        rows, _ = index.search(query, 40, Allowed(mask))
        assert len(rows) == len(expected)
        assert mask[rows].all()
        assert not np.isin(rows, [17, 4_000]).any()
        assert len(np.unique(rows)) == len(rows)
    assert recall(index, vectors, 40, mask) >= 0.9


def test_more_than_there_are_gives_all(large):
    _, index = large
    assert len(index.search(queries()[0], N + 50, EVERY)[0]) == N - 2
    assert len(index.search(queries()[0], 5, Allowed(np.zeros(N, bool)))[0]) == 0


def test_what_is_hidden_from_one_call_stays_away(large):
    vectors, index = large
    query = queries()[1]
    mask = np.ones(N, bool)
    mask[best(vectors, query, 30)] = False
    mask[np.random.default_rng(6).choice(N, 400, replace=False)] = False
    rows, scores = index.search(query, 30, Allowed(mask))
    assert len(rows) == 30
    assert mask[rows].all()
    assert (np.diff(scores) <= 0).all()
    assert recall(index, vectors, 100, mask) >= 0.95


@pytest.mark.parametrize("n", [10, 300, 1_000])
def test_the_true_best_are_found_also_of_shorter_and_longer_lists(large, n):
    vectors, index = large
    assert recall(index, vectors, n) >= 0.95


def test_a_filter_that_goes_with_the_clusters_still_finds_the_true_best(large):
    vectors, index = large
    side = np.nan_to_num(vectors) @ np.random.default_rng(4).standard_normal(DIM)
    assert recall(index, vectors, 100, side > np.quantile(side, 0.8)) >= 0.9


@pytest.mark.parametrize("allowed", [EVERY, Allowed(np.arange(N) < 90)], ids=["all", "few"])
def test_products_past_all_numbers_are_refused(large, allowed):
    vectors, index = large
    with pytest.raises(ValueError, match="finite"):
        index.search(np.sign(vectors[0]) * np.float32(3e38), 5, allowed)


def test_products_past_all_numbers_with_what_came_later_are_refused(large):
    _, index = large
    index.put(np.array([N]), np.full((1, DIM), 1e30, np.float32))
    with pytest.raises(ValueError, match="finite"):
        index.search(np.full(DIM, 1e20, np.float32), 5, Allowed.everything(N + 1))


def test_writes_are_seen_at_once_and_counted(large):
    vectors, index = large
    query = queries()[2]
    first = best(vectors, query, 3)
    index.remove(first[:1])
    index.put(first[1:2], -vectors[first[1:2]])
    index.put(np.array([N + 300]), 50 * query[None])
    wide = Allowed.everything(N + 400)
    rows, scores = index.search(query, 20, wide)
    assert rows[0] == N + 300
    assert not np.isin(first[:2], rows).any()
    np.testing.assert_allclose(scores[0], 50 * query @ query, rtol=1e-4)
    assert index.count == N - 2
    assert index.pending == 2 + 2
    assert index.count_from(N) == 1
    np.testing.assert_array_equal(index.vectors(first[1:2]), -vectors[first[1:2]])
    assert np.isnan(index.vectors(np.array([first[0], 17, 10 * N]))).all()
    # Out of the way of a call whose table does not know the row yet.
    assert (index.search(query, 20, EVERY)[0] < N).all()


def test_a_rebuild_takes_in_what_was_written_also_meanwhile(large, monkeypatch):
    vectors, index = large
    query = queries()[3]
    gone, replaced = best(vectors, query, 2)
    added = np.arange(N, N + 80)
    index.put(added, np.full((80, DIM), 0.01, np.float32))
    assert index.needs_rebuild()
    inner = index._build

    def build(*arguments):
        index.remove(np.array([gone]))
        index.put(np.array([replaced]), 40 * query[None])
        return inner(*arguments)

    monkeypatch.setattr(index, "_build", build)
    before = index.built
    index.rebuild()
    assert index.built is not before
    assert (index.rebuilds, index.needs_rebuild()) == (1, False)
    wide = Allowed.everything(N + 80)
    rows, _ = index.search(query, 100, wide)
    assert rows[0] == replaced
    assert gone not in rows
    assert index.count == N - 2 + 80 - 1
    assert index.count_from(N) == 80


def test_a_rebuild_that_fails_changes_nothing(large, monkeypatch):
    _, index = large
    index.put(np.array([N]), np.ones((1, DIM), np.float32))

    def fails(*_):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(index, "_build", fails)
        with pytest.raises(MemoryError):
            index.rebuild()
    assert index.count == N - 1
    index.rebuild()
    assert (index.rebuilds, index.pending) == (1, 0)


def test_saved_and_opened_it_answers_as_in_memory(built, large):
    kind, _, _ = built
    _, opened = large
    for query in queries(5):
        one, two = _SAVED[kind].search(query, 50, EVERY), opened.search(query, 50, EVERY)
        assert one[0].tolist() == two[0].tolist()
        np.testing.assert_array_equal(one[1], two[1])
    assert opened.type == kind
    assert opened.parameters == _SAVED[kind].parameters


def test_the_same_seed_builds_the_same_index(built):
    kind, vectors, indexes = built
    again = indexes.build(vectors)
    for query in queries(5):
        assert again.search(query, 50, EVERY)[0].tolist() == _SAVED[kind].search(query, 50, EVERY)[0].tolist()


def test_vectors_of_another_embedding_are_refused(built, tmp_path):
    kind, _, indexes = built
    indexes.save(_SAVED[kind], tmp_path / "index", "e1")
    with pytest.raises(ValueError, match="embedding e1, the version needs those of e2"):
        indexes.open(tmp_path / "index", "e2")


def test_a_truncated_file_is_refused(built, tmp_path):
    kind, _, indexes = built
    folder = tmp_path / "index"
    indexes.save(_SAVED[kind], folder, "e1")
    largest = max(folder.iterdir(), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    with pytest.raises((ValueError, OSError)):
        indexes.open(folder, "e1")


def test_a_query_without_numbers_is_refused(large):
    with pytest.raises(ValueError, match="finite"):
        large[1].search(np.full(DIM, np.nan, np.float32), 5, EVERY)


def test_searches_go_on_while_it_is_written_to_and_rebuilt(large):
    vectors, index = large
    stop, failures = threading.Event(), []
    gone = best(vectors, queries()[0], 5)
    index.remove(gone)

    def search():
        while not stop.is_set():
            for query in queries(5):
                rows, _ = index.search(query, 50, EVERY)
                if len(rows) != 50 or np.isin(rows, gone).any():
                    failures.append(rows)

    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    for start in range(0, 400, 100):
        rows = np.arange(1_000 + start, 1_100 + start)
        rows = rows[~np.isin(rows, [*gone, 17, 4_000])]
        index.put(rows, vectors[rows])
    index.rebuild()
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures


def test_which_type_is_chosen():
    auto = IndexParameters(memory_mb=100)
    assert [choose_type(count, 64, auto) for count in (1_000, 60_000, 10_000_000)] == ["flat", "ivf", "ivf_pq"]
    assert choose_type(10, 64, IndexParameters(type="hnsw")) == "hnsw"


@pytest.mark.parametrize("kind", TYPES)
def test_an_index_without_vectors_finds_nothing_and_takes_what_comes(kind, tmp_path):
    indexes = FaissIndexes(parameters(kind))
    indexes.save(indexes.build(np.full((10, DIM), np.nan, np.float32)), tmp_path / "index", "e1")
    index = indexes.open(tmp_path / "index", "e1")
    query = np.ones(DIM, np.float32)
    assert (index.count, len(index.search(query, 5, EVERY)[0])) == (0, 0)
    index.put(np.array([3]), query[None])
    assert index.search(query, 5, EVERY)[0].tolist() == [3]
    index.rebuild()
    assert index.search(query, 5, EVERY)[0].tolist() == [3]
