"""The caller's own candidates in order, and why items have their scores."""

from __future__ import annotations

import pytest

from services.ranker.nouns import ExplainRequest, Question, RankRequest

from .house import named


async def test_rank_puts_unknown_items_last_in_the_order_of_the_request(house):
    await house.train()
    answer = await house.recommender.rank(RankRequest(Question("u"), ("zz", "i9", "yy", "i4")))
    assert [one.item_id for one in answer.results] == ["i4", "i9", "zz", "yy"]
    assert answer.unknown_item_ids == ("zz", "yy")
    best = await house.recommender.rank(RankRequest(Question("u"), ("i9", "i4"), k=1))
    assert [one.item_id for one in best.results] == ["i4"]


async def test_rank_answers_without_candidates(house):
    await house.train()
    house.near.down = {"candidates"}
    answer = await house.recommender.rank(RankRequest(Question("u"), ("i9", "i4", "i8")))
    assert len(answer.results) == 3
    assert named(answer) == {"candidates": "text_only"}


async def test_explanations_add_up_and_are_those_of_recommend(house):
    await house.train()
    shown = await house.ask(explain=True, k=4)
    asked = [one.item_id for one in shown.results][::-1]
    answer = await house.recommender.explain(ExplainRequest(Question("u"), (*asked, "i0", "nothing")))
    assert [one.item_id for one in answer.results] == [*asked, "i0"]
    assert answer.unknown_item_ids == ("nothing",)
    for one in (*shown.results, *answer.results):
        total = one.explanation.bias + sum(part.contribution for part in one.explanation.features)
        assert total == pytest.approx(one.score, rel=1e-4, abs=1e-5)
        assert sum(one.explanation.groups.values()) == pytest.approx(total - one.explanation.bias, abs=1e-5)
        assert one.cf_contribution == pytest.approx(one.explanation.groups["cf"], abs=1e-5)
        assert sum(share.share for share in one.sources) == pytest.approx(1)
        assert one.explanation.sentence
        assert {reason.item_id for reason in one.explanation.history} <= {"i0", "i1"}
