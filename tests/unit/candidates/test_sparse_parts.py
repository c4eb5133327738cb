"""What the neighbourhood sources are made of."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter

from services.candidates.index.allowed import Allowed
from services.candidates.sources import sums
from services.candidates.sources.hyperparameters import ItemItemParameters, ItemKnnParameters, UserKnnParameters
from services.candidates.sources.item_item_sparse import _solve, kept_co_occurrences
from services.candidates.sources.item_weights import largest
from services.candidates.sources.sums import Sums
from services.candidates.sources.user_ids import UserIds


@pytest.mark.parametrize("dense_rows", [0, 100])
def test_sums_add_up_by_row(monkeypatch, dense_rows):
    monkeypatch.setattr(sums, "DENSE_ROWS", dense_rows)
    added = Sums(np.array([7, 2, 7, 9], np.int32), np.array([1, -2, 0.5, 3], np.float32), 50)
    np.testing.assert_array_equal(added.at(np.array([9, 0, 7, 2, 49, 50, 1_000])), [3, 0, 1.5, -2, 0, 0, 0])
    rows, values = added.positive(Allowed(np.arange(9) != 2))
    assert (rows.tolist(), values.tolist()) == ([7], [1.5])
    assert added.positive(Allowed.everything(100))[0].tolist() == [7, 9]
    nothing = Sums(np.zeros(0, np.int32), np.zeros(0, np.float32), 50)
    assert nothing.at(np.array([1, 60])).tolist() == [0, 0]
    assert nothing.positive(Allowed.everything(50))[0].tolist() == []


def test_the_largest_of_equal_values_are_the_first():
    assert largest(np.array([1, 3, 2, 2, 2], np.float32), 3).tolist() == [False, True, True, True, False]
    assert largest(np.array([1, 2], np.float32), 2).all()


def test_co_occurrences_fit_into_the_memory_that_is_given():
    assert kept_co_occurrences(1_000_000, 2_048) == 128
    assert kept_co_occurrences(1_000_000, 1) == 64


def test_a_system_that_lost_definiteness_gets_it_back():
    bad = np.array([[[1.0, 3.0], [3.0, 1.0]], [[4.0, 0.0], [0.0, 4.0]]])
    solved = _solve(bad, np.ones((2, 2, 1)), floor=2.0)
    # The smallest eigenvalue of the first is -2, so that 4 goes to its diagonal; the second stays as it is.
    np.testing.assert_allclose(solved, [[1 / 8, 1 / 8], [1 / 4, 1 / 4]])


def test_user_ids_are_found_and_erased(tmp_path):
    ids = [f"nutzer-ü-{number}" for number in range(300)] + ["x" * 256]
    UserIds.of(ids).save(tmp_path)
    loaded = UserIds.load(tmp_path)
    assert [loaded.row_of(user_id) for user_id in ids] == list(range(301))
    assert [loaded.id_of(row) for row in range(301)] == ids
    assert loaded.row_of("nobody") is None
    for row in range(0, 301, 2):
        loaded.erase(row)
        loaded.erase(row)
    assert [loaded.row_of(user_id) for user_id in ids] == [row if row % 2 else None for row in range(301)]
    assert loaded.id_of(0) is None
    # What is on disk stays: it goes with the next training.
    assert UserIds.load(tmp_path).row_of(ids[0]) == 0
    loaded.clear()
    assert loaded.row_of(ids[1]) is None
    assert loaded.id_of(1) is None


def test_no_user_ids(tmp_path):
    UserIds.of([]).save(tmp_path)
    assert UserIds.load(tmp_path).row_of("anybody") is None


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (ItemItemParameters, "neighbours", 0),
        (ItemItemParameters, "regularization", 0.0),
        (ItemItemParameters, "local_regularization", float("nan")),
        (ItemKnnParameters, "shrinkage", -1.0),
        (ItemKnnParameters, "max_targets", 0),
        (UserKnnParameters, "searched", 0),
        (UserKnnParameters, "amplification", 0.0),
    ],
)
def test_hyperparameters_that_no_fit_can_use_are_refused(make, name, value):
    with pytest.raises(ValueError, match=f"(?s){name}.*{value}"):
        make(**{name: value})
    with pytest.raises(ValueError, match=name):
        TypeAdapter(make).validate_python({name: value})
