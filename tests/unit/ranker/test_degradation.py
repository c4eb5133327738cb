"""What is answered, and what is named, when a neighbour is gone."""

from __future__ import annotations

import pytest

from services.ranker.nouns import ExplainRequest, Question, RankRequest
from shared.data.nouns import Item, ItemFilter, Temperature
from shared.errors import CorruptData, DependencyUnavailable, ModelMismatch, NotFound

from .house import WORLD, named, record


async def test_embedding_down_and_back(house):
    await house.train()
    house.near.down = {"embedding"}
    answer = await house.ask()
    assert named(answer) == {"embedding": "cf_only"}
    assert len(answer.results) == 5
    house.near.down = set()
    assert (await house.ask()).degraded == ()


async def test_candidates_down_answers_from_texts(house):
    await house.train()
    house.near.down = {"candidates"}
    answer = await house.ask(k=3)
    assert named(answer) == {"candidates": "text_only"}
    assert len(answer.results) == 3
    assert {one.item_id for one in answer.results} <= set(WORLD) - {"i0", "i1", "i2"}
    house.near.down = set()
    assert (await house.ask()).degraded == ()


async def test_candidates_without_a_model_counts_as_down(house):
    house.near.down = {"candidates-model"}
    answer = await house.ask(k=3)
    assert named(answer) == {"fusion": "merged_order", "candidates": "text_only"}
    assert {one.item_id for one in answer.results} <= {"i8", "i16", "i24", "i9", "i17", "i25"}


async def test_both_down_answers_what_is_popular(house):
    await house.train()
    house.near.down = {"candidates", "embedding"}
    answer = await house.ask(k=3)
    assert named(answer) == {"candidates": "popular", "embedding": "popular"}
    assert [one.item_id for one in answer.results] == ["i3", "i4", "i5"]


async def test_a_cold_user_with_candidates_down_gets_what_is_popular(house):
    house.near.down = {"candidates"}
    answer = await house.ask(user="nobody", k=3)
    assert named(answer)["candidates"] == "popular"
    assert answer.temperature is Temperature.COLD
    assert [one.item_id for one in answer.results] == ["i0", "i1", "i2"]


async def test_fallbacks_pass_the_filter(house):
    house.near.down = {"candidates", "embedding"}
    house.live.apply([record(500, Item("i3", title="T3", categories=("X",)))])
    only = ItemFilter(categories_none=frozenset({"X"}), exclude_item_ids=frozenset({"i4"}))
    answer = await house.ask(k=2, item_filter=only)
    assert [one.item_id for one in answer.results] == ["i5", "i6"]


async def test_ingestion_down_uses_the_last_known_history(house):
    await house.train()
    await house.ask()
    house.near.down = {"ingestion"}
    answer = await house.ask()
    assert named(answer) == {"ingestion": "full_fusion"}
    assert answer.temperature is Temperature.WARM
    assert "i0" not in {one.item_id for one in answer.results}
    stranger = await house.ask(user="never-seen")
    assert named(stranger) == {"ingestion": "popular"}


async def test_nothing_left_fails(house):
    house.live.reset()
    house.near.down = {"candidates", "embedding", "ingestion"}
    with pytest.raises(DependencyUnavailable) as caught:
        await house.ask()
    assert caught.value.component == "candidates"


async def test_a_failed_source_is_named(house):
    await house.train()
    house.near.failed_sources = {"als": "index is loading"}
    answer = await house.ask()
    assert named(answer) == {"source:als": "full_fusion"}
    assert answer.degraded[0].reason == "index is loading"


async def test_text_profiles_are_of_the_encoder_that_the_model_was_trained_with(house):
    await house.train()
    house.near.pinned.clear()
    assert named(await house.ask()) == {}
    assert house.near.pinned == ["e1"]


async def test_another_encoder_than_the_models_is_named(house):
    await house.train()
    house.near.embedding_version = "e2"
    answer = await house.ask()
    assert named(answer) == {"embedding": "cf_only"}
    assert "e2" in answer.degraded[0].reason


@pytest.mark.parametrize("error", [NotFound, CorruptData, ModelMismatch])
async def test_candidates_that_refuse_their_version_are_named(house, error):
    version = await house.train()
    house.near.refusal = error("no candidates version c-pinned")
    current = await house.ask(k=3)
    assert named(current) == {"candidates": "text_only"}
    assert len(current.results) == 3
    pinned = Question("u", model_version=version)
    for ask in (
        house.ask(question=pinned),
        house.recommender.rank(RankRequest(pinned, ("i4",))),
        house.recommender.explain(ExplainRequest(pinned, ("i4",))),
    ):
        with pytest.raises(ModelMismatch, match=f"ranker {version} .* candidates c-pinned"):
            await ask
