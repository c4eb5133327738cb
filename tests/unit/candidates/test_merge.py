from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from services.candidates.catalogue.table import ItemTable
from services.candidates.merge import evidence, fusion
from services.candidates.merge.evidence import ranks_by_score, ranks_in_lists
from services.candidates.merge.finder import FAILED, CandidateFinder
from services.candidates.merge.fusion import fuse, with_places_kept
from services.candidates.ports import Proposal
from services.candidates.profile import Profile
from services.candidates.queries import CandidateQuery
from services.candidates.sources.popular import PopularSource
from services.candidates.sources.ranking import best
from shared.data.nouns import Item
from shared.errors import InvalidField
from shared.telemetry.stages import Stages

NOW = datetime(2024, 1, 1, tzinfo=UTC)
NOBODY = Profile(np.zeros(0, np.int64), np.zeros(0, np.float32))


def test_reciprocal_ranks_add_up():
    rows, scores = fuse([np.array([5, 3, 9]), np.array([3, 7])], 60)
    assert rows.tolist() == [3, 5, 7, 9]
    np.testing.assert_allclose(scores, [1 / 62 + 1 / 61, 1 / 61, 1 / 62, 1 / 63])


def test_nothing_merges_to_nothing():
    assert len(fuse([], 60)[0]) == 0
    assert len(fuse([np.zeros(0, np.int64)], 60)[0]) == 0


def test_equal_merged_scores_come_in_row_order():
    assert fuse([np.array([8]), np.array([2])], 60)[0].tolist() == [2, 8]


def test_ranks():
    lists = [np.array([4, 2]), np.array([2])]
    assert ranks_in_lists(lists, np.array([2, 4, 0]), 10).tolist() == [[2, 1], [1, 0], [0, 0]]
    scores = np.array([[1.0, np.nan], [3.0, 2.0], [1.0, 5.0]], np.float32)
    assert ranks_by_score(scores).tolist() == [[2, 0], [1, 2], [3, 1]]


def test_best_decides_ties_by_row():
    proposal = best(np.array([9, 1, 5, 7]), np.array([1, 1, 2, 1], np.float32), 3)
    assert proposal.rows.tolist() == [5, 1, 7]


class Broken:
    name = "broken"
    proposes = True

    def propose(self, *_):
        raise ZeroDivisionError

    def score(self, *_):
        raise ZeroDivisionError


class BreaksLate(Broken):
    name = "late"

    def propose(self, *_):
        return Proposal(np.array([1]), np.array([1], np.float32))


def version_with(*sources):
    table = ItemTable()
    for number in range(400):
        table.put(Item(f"i{number}", "t"))
    return SimpleNamespace(
        trained_rows=10**6,
        table=table,
        sources={source.name: source for source in sources},
        is_new=lambda rows: np.zeros(len(rows), bool),
        quotas=None,
        about=SimpleNamespace(trained_rows=10**6, version="v"),
    )


def query(**fields):
    return CandidateQuery(**{"user_id": "u", "history": None, "k": 5, **fields})


@pytest.fixture
def popular():
    return PopularSource(np.arange(400))


FINDER = CandidateFinder(per_source=10, rrf_k=60)


def test_a_broken_source_is_named_and_the_others_answer(popular):
    version = version_with(Broken(), popular, BreaksLate())
    found = FINDER.find(version, query(), NOBODY, NOW, Stages("candidates"))
    assert set(found.item_ids) >= {"i399", "i398"}
    assert {one.source: (one.failed, one.reason) for one in found.reports} == {
        "broken": (True, FAILED),
        "popular": (False, ""),
        "late": (True, FAILED),
    }
    column = found.evidence.names.index("broken")
    assert np.isnan(found.evidence.scores[:, column]).all()
    scored = FINDER.score(version, query(score_item_ids=("i3",)), NOBODY, Stages("candidates"))
    assert [one.failed for one in scored.reports] == [True, False, True]


def test_sources_dig_deeper_when_the_lists_are_too_short(popular):
    found = FINDER.find(version_with(popular), query(k=300), NOBODY, NOW, Stages("candidates"))
    assert len(found.item_ids) == 300
    assert found.item_ids[0] == "i399"


def test_an_unknown_source_is_refused_with_the_valid_names(popular):
    with pytest.raises(InvalidField, match="one of popular"):
        FINDER.find(version_with(popular), query(sources=("magic",)), NOBODY, NOW, Stages("candidates"))


def test_scored_items_are_merged_by_their_places_among_each_other(popular):
    asked = ("i7", "unknown", "i9", "i7")
    found = FINDER.score(version_with(popular), query(score_item_ids=asked), NOBODY, Stages("candidates"))
    assert found.evidence.ranks[:, 0].tolist() == [2, 0, 1, 3]
    np.testing.assert_allclose(found.scores, [1 / 62, 0, 1 / 61, 1 / 63])


def test_new_items_have_their_share_of_the_places():
    rows, scores = np.arange(20), np.linspace(1, 0, 20)
    is_new = np.isin(rows, [4, 12, 15, 18])

    def kept(share, of=is_new, n=20):
        return with_places_kept(rows[:n], scores[:n], 10, [(of[:n], share)])

    assert kept(0.3)[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 12, 15]
    np.testing.assert_array_equal(kept(0.3)[1], scores[kept(0.3)[0]])
    assert kept(0.1)[0].tolist() == list(range(10))
    assert kept(1.0)[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 12, 15, 18]
    assert kept(1.0, np.ones(20, bool))[0].tolist() == list(range(10))
    assert kept(1.0, n=5)[0].tolist() == list(range(5))


def test_places_of_a_narrow_kind_count_for_the_wider_one():
    rows, scores = np.arange(20), np.linspace(1, 0, 20)
    is_new, is_late = np.isin(rows, [11, 12, 13, 14]), np.isin(rows, [13, 14])
    late_and_new = [(is_late, 0.2), (is_new, 0.2)]
    assert with_places_kept(rows, scores, 10, late_and_new)[0].tolist() == [*range(8), 13, 14]
    late_and_new = [(is_late, 0.1), (is_new, 0.3)]
    assert with_places_kept(rows, scores, 10, late_and_new)[0].tolist() == [*range(7), 11, 12, 13]


def test_lists_of_large_tables_are_fused_as_those_of_small_ones(monkeypatch):
    rng = np.random.default_rng(5)
    lists = [rng.permutation(60)[:length].astype(np.int64) for length in (20, 0, 35, 7)]
    small = fuse(lists, 60, [1.0, 1.0, 0.0, 0.3])
    monkeypatch.setattr(fusion, "DENSE_ROWS", 0)
    for one, other in zip(fuse(lists, 60, [1.0, 1.0, 0.0, 0.3]), small, strict=True):
        np.testing.assert_array_equal(one, other)


def test_ranks_in_large_tables_are_those_in_small_ones(monkeypatch):
    rng = np.random.default_rng(6)
    lists = [rng.permutation(60)[:length].astype(np.int64) for length in (20, 0, 60, 1)]
    rows = rng.permutation(60)[:25].astype(np.int64)
    small = ranks_in_lists(lists, rows, 60)
    monkeypatch.setattr(evidence, "DENSE_ROWS", 0)
    np.testing.assert_array_equal(ranks_in_lists(lists, rows, 60), small)


def test_weights_say_what_a_list_counts():
    rows, scores = fuse([np.array([7, 8]), np.array([9])], 60, [1.0, 2.0])
    assert rows.tolist() == [9, 7, 8]
    np.testing.assert_allclose(scores, [2 / 61, 1 / 61, 1 / 62])
