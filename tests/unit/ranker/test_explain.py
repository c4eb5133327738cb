"""Explain: shares, reasons, the sentence."""

from __future__ import annotations

import numpy as np
import pytest

from services.ranker.explain.reasons import strongest
from services.ranker.explain.sentence import sentence_of
from services.ranker.explain.shares import source_shares
from services.ranker.nouns import CandidateTable, HistoryReason


def test_shares_sum_to_one_over_the_sources_that_proposed():
    table = CandidateTable(
        ["a", "b"],
        np.ones(2, dtype=np.float32),
        np.zeros(2, dtype=bool),
        {
            "als": np.array([1.5, np.nan], dtype=np.float32),
            "aligned_text": np.array([0.2, 0.1], dtype=np.float32),
            "popular": np.array([3, 4], dtype=np.float32),
        },
        {
            "als": np.array([1, 0], dtype=np.int32),
            "aligned_text": np.array([40, 0], dtype=np.int32),
            "popular": np.array([0, 0], dtype=np.int32),
        },
    )
    shares = source_shares(table, [0, 1])
    first = {one.source: one for one in shares[0]}
    assert sum(one.share for one in first.values()) == pytest.approx(1)
    assert first["als"].share == pytest.approx((1 / 61) / (1 / 61 + 1 / 100))
    assert (first["popular"].rank, first["popular"].share) == (0, 0)
    assert [one.source for one in shares[0]] == ["als", "aligned_text", "popular"]
    assert {one.source for one in shares[1]} == {"aligned_text", "popular"}
    assert all(one.share == 0 for one in shares[1])
    plain = CandidateTable.plain(["a", "b"], np.ones(2, dtype=np.float32))
    assert source_shares(plain, [1, 0]) == [(), ()]
    assert source_shares(table, []) == []


def test_reasons_are_weighed_by_what_their_kind_adds():
    behaviour = np.array([1.0, 3.0], dtype=np.float32)
    text = np.array([0.5, 0.0], dtype=np.float32)
    found = strongest(["x", "y"], behaviour, text, 3.0, 1.0)
    assert [(item, kind) for item, _, kind in found] == [("y", "behaviour"), ("x", "text")]
    assert [weight for _, weight, _ in found] == pytest.approx([0.75 * 3 / 4, 0.25 * 3 / 4 + 1 / 4])


def test_an_item_that_speaks_in_both_ways_is_one_reason():
    liked = ["x", "y", "z"]
    behaviour, text = np.array([5, 1, 0], dtype=np.float32), np.array([2, 2, 1], dtype=np.float32)
    found = strongest(liked, behaviour, text, 2.0, 1.0)
    assert [item for item, _, _ in found] == ["x", "y", "z"]
    assert [kind for _, _, kind in found] == ["behaviour", "text", "text"]
    assert sum(weight for _, weight, _ in found) == pytest.approx(1)


def test_a_sentence_never_names_one_title_twice():
    kinds = ["behaviour", "text", "text"]
    titles = ["Monsters, Inc.", "Monsters, Inc.", "Shrek"]
    reasons = [
        HistoryReason(f"h{n}", title, 0.3, kind) for n, (title, kind) in enumerate(zip(titles, kinds, strict=True))
    ]
    sentence = sentence_of(reasons, {}, is_new=False, has_scores=True)
    assert sentence == "People who liked Monsters, Inc. and Shrek liked this."
    assert sentence_of(reasons[:2], {}, is_new=False, has_scores=True) == "People who liked Monsters, Inc. liked this."


def test_at_most_five_reasons_and_none_without_evidence():
    liked = [f"h{n}" for n in range(20)]
    many = strongest(liked, np.ones(20, dtype=np.float32), np.ones(20, dtype=np.float32), 1.0, 1.0)
    assert len(many) == 5
    assert strongest(liked, None, np.zeros(20, dtype=np.float32), 1.0, 1.0) == []
    assert strongest([], None, np.zeros(0, dtype=np.float32), 0.0, 0.0) == []


def test_sentences_name_what_speaks_for_the_result():
    behaviour = [HistoryReason("a", "Alien", 0.6, "behaviour"), HistoryReason("b", "", 0.4, "text")]
    assert sentence_of(behaviour, {}, is_new=False, has_scores=True) == "People who liked Alien and b liked this."
    assert "New" in sentence_of(behaviour, {}, is_new=True, has_scores=True)
    assert "close to b" in sentence_of(behaviour[1:], {}, is_new=False, has_scores=True)
    assert "popular" in sentence_of([], {"popularity": 2.0}, is_new=False, has_scores=True)
    assert "categories" in sentence_of([], {"popularity": -1.0, "text": 1.0}, is_new=False, has_scores=True)
