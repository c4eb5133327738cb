"""Rules of a request and of the file: what they do to a list."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.ranker.nouns import ExplainRequest, Question, RankRequest, RecommendRequest
from services.ranker.pipeline.select.options import NO_OPTIONS, Action, DiversityMethod, ExplorationMethod, Pin
from shared.data.limits import MAX_CANDIDATES
from shared.data.nouns import AttributeRule, Item, ItemFilter, SeenPolicy
from shared.errors import InvalidField, ModelNotReady

from .house import built, record
from .ruling import asked, ids, rule, written

NO_FILTER = ItemFilter()


@pytest.fixture
async def shop(house):
    """The house with categories and prices: even items are X and cost their number, odd ones Y and have no price."""
    await house.train()
    items = [
        Item(f"i{n}", f"T{n}", categories=("Y",)) if n % 2 else
        Item(f"i{n}", f"T{n}", categories=("X",), attributes={"price": float(n)})
        for n in range(30)
    ]  # fmt: skip
    house.live.apply(record(2000 + n, item) for n, item in enumerate(items))
    return house


async def test_boosts_move_items_and_are_told_as_rules_that_add_up(shop):
    plain = await shop.ask(k=27, explain=True)
    rules = (
        rule("dear", Action.BOOST, 2.0, attributes=(AttributeRule("price", range=(20.0, None)),)),
        rule("not y", Action.BURY, 1.0, categories_any=frozenset("Y")),
    )
    moved = await shop.ask(k=27, explain=True, selection=asked(rules=rules, long_tail=0.3))
    before, after = ({one.item_id: one for one in answer.results} for answer in (plain, moved))
    assert ids(moved).index("i20") < ids(plain).index("i20")
    assert ids(moved).index("i5") > ids(plain).index("i5")
    assert [one.score for one in moved.results] == sorted((one.score for one in moved.results), reverse=True)
    for item_id, one in after.items():
        why = one.explanation
        added = why.bias + sum(part.contribution for part in why.features)
        assert added == pytest.approx(one.score, rel=1e-4, abs=1e-4)
        assert sum(why.groups.values()) + why.bias == pytest.approx(one.score, rel=1e-4, abs=1e-4)
        by_rules = why.groups.get("rules", 0.0)
        assert one.score - before[item_id].score == pytest.approx(by_rules, rel=1e-3, abs=1e-4)
    names = {part.feature for part in after["i20"].explanation.features if part.group == "rules"}
    assert names == {"rule:dear", "long_tail"}


async def test_the_long_tail_lifts_what_few_have_chosen(shop):
    shop.live.apply([record(3000 + n, shop_event) for n, shop_event in enumerate(many("i3", 300))])
    plain, lifted = await shop.ask(k=27), await shop.ask(k=27, selection=asked(long_tail=1.0))
    assert ids(lifted).index("i3") > ids(plain).index("i3")


def many(item, count):
    from .samples import rating

    return [rating(f"w{n}", item, 5, 10) for n in range(count)]


async def test_required_and_excluded_items(shop):
    cheap = rule("cheap", Action.REQUIRE, attributes=(AttributeRule("price", range=(None, 8.0)),))
    answer = await shop.ask(k=20, selection=asked(rules=(cheap,)))
    assert set(ids(answer)) == {"i4", "i6", "i8"}
    sent = shop.near.queries[-1].item_filter
    assert sent.attributes == cheap.when.attributes
    no_y = rule("no y", Action.EXCLUDE, categories_any=frozenset("Y"))
    answer = await shop.ask(k=20, selection=asked(rules=(no_y,), block_item_ids=frozenset({"i4"})))
    assert set(ids(answer)) == {f"i{n}" for n in range(6, 30, 2)}
    assert shop.near.queries[-1].item_filter.exclude_item_ids == {"i4"}
    none = await shop.ask(
        selection=asked(rules=(rule("unknown", Action.REQUIRE, attributes=(AttributeRule("size", equals=True),)),))
    )
    assert none.results == ()
    assert none.empty_reason == "the filter leaves nothing of 27 candidates"


@pytest.mark.parametrize("explore", [False, True])
async def test_pins_stand_in_their_places_and_caps_hold_around_them(shop, explore):
    pins = (Pin("i21", 2), Pin("i0", 4))
    answer = await shop.ask(k=6, explore=explore, explain=True, selection=asked(pins=pins, category_caps=(("X", 2),)))
    shown = ids(answer)
    # i0 was seen: a pin is shown all the same, and scored by candidates.
    assert (shown[1], shown[3]) == ("i21", "i0")
    assert len(set(shown)) == 6
    assert sum(int(one[1:]) % 2 == 0 for one in shown) == 2
    assert answer.results[1].propensity == 1
    assert {part.feature for part in answer.results[1].explanation.features} >= {"pin"}
    for one in answer.results:
        total = one.explanation.bias + sum(part.contribution for part in one.explanation.features)
        assert total == pytest.approx(one.score, rel=1e-4, abs=1e-4)


async def test_what_cannot_be_given_is_told(shop):
    pins = (Pin("nowhere", 1), Pin("i9", 2))
    answer = await shop.ask(k=5, selection=asked(pins=pins, max_per_category=1))
    assert ids(answer) == ["i4", "i9"]
    assert "pin nowhere at 1: it is not in the catalogue" in answer.unmet
    assert any("3 of 5 places are empty" in one for one in answer.unmet)
    nothing = await shop.ask(k=5, selection=asked(category_caps=(("X", 0), ("Y", 0))))
    assert nothing.empty_reason == "the caps leave nothing of 27 candidates"


async def test_a_list_that_rules_make_short_after_the_search_says_so(shop):
    dear = rule("dear", Action.EXCLUDE, attributes=(AttributeRule("price", range=(6.0, None)),))
    answer = await shop.ask(k=20, selection=asked(rules=(dear,)))
    assert len(answer.results) == 15
    assert [one for one in answer.unmet if one.startswith("5 of 20 places are empty") and "'dear'" in one]
    assert (await shop.ask(k=5, selection=asked(rules=(dear,)))).unmet == ()


async def test_what_rules_leave_out_after_the_search_is_searched_for_once_more(shop):
    few = shop.recommender.settings.model_copy(update={"candidates": 6})
    recommender = replace(shop.recommender, settings=few)
    cheap = rule("cheap", Action.EXCLUDE, attributes=(AttributeRule("price", range=(None, 15.0)),))
    no_x = rule("no x", Action.EXCLUDE, categories_none=frozenset("X"))

    async def searched(*rules, only=NO_FILTER):
        shop.near.queries.clear()
        request = RecommendRequest(Question("u"), 3, only, SeenPolicy.HIDE_ALL_SEEN)
        answer = await recommender.recommend(replace(request, selection=asked(rules=rules)))
        return [one.k for one in shop.near.queries], ids(answer), answer.unmet

    # Of i3 to i8, three have no price.
    assert await searched(cheap) == ([6], ["i3", "i5", "i7"], ())
    assert await searched(cheap, no_x) == ([6, MAX_CANDIDATES], ["i16", "i18", "i20"], ())
    # The filter holds one list of categories, any of which will do: the request's.
    y, x_or_y = rule("y", Action.REQUIRE, categories_any=frozenset("Y")), ItemFilter(categories_any=frozenset("XY"))
    assert await searched(y, cheap, only=x_or_y) == ([6], ["i3", "i5", "i7"], ())
    queries, shown, unmet = await searched(y, only=ItemFilter(categories_any=frozenset("X")))
    assert (queries, shown) == ([6, MAX_CANDIDATES], [])
    assert "'y'" in unmet[0]


async def test_what_a_boost_adds_does_not_hang_on_a_pin(shop):
    # Worse than all others: its evidence moves none of their places.
    shop.near.odd = {"i0": -1e6}
    up = (rule("up", Action.BOOST, 1.0, categories_any=frozenset("X")),)
    plain = await shop.ask(k=10, explain=True, selection=asked(rules=up))
    pinned = await shop.ask(k=10, explain=True, selection=asked(rules=up, pins=(Pin("i0", 10),)))
    assert ids(pinned)[:9] == ids(plain)[:9]
    by_rules = [one.results[0].explanation.groups["rules"] for one in (plain, pinned)]
    assert by_rules[1] == pytest.approx(by_rules[0], rel=1e-3)


async def test_calibration_counts_a_pin_as_part_of_the_list(shop):
    # The user likes i0, of X, and i1, of Y: half of the list is to be of each.
    pins = tuple(Pin(f"i{n}", 7 + place) for place, n in enumerate((21, 23, 25, 27)))
    shown = ids(await shop.ask(k=10, selection=asked(calibration=1.0, pins=pins)))
    assert sum(int(one[1:]) % 2 == 0 for one in shown) == 5


async def test_places_for_new_items_that_stay_empty_are_told(shop):
    for options in ({"new_item_slots": 2}, {"selection": asked(min_new_share=0.2)}):
        answer = await shop.ask(k=10, **options)
        assert answer.unmet == ("0 of 2 places for new items: no more of them fit",)
        version = shop.recommender.shelf.current.version
        pinned = await shop.ask(k=10, question=Question("u", model_version=version), **options)
        assert pinned.unmet == ("0 of 2 places for new items: a pinned version is served without them",)
    assert (await shop.ask(k=10)).unmet == ()


async def test_dials_of_the_file_that_exploring_sets_aside_are_told(tmp_path):
    text = "diversity: 0.9\nselection: {calibration: .1, min_new_share: .1}\n"
    house = built(tmp_path, rules=written(tmp_path, text))
    answer = await house.ask(k=5, explore=True)
    assert [one.partition(":")[0] for one in answer.unmet] == [
        "diversity, calibration, min_new_share of the rules file"
    ]
    assert (await house.ask(k=5, explore=True, selection=asked(ignore_defaults=True))).unmet == ()


async def test_thompson_is_refused_before_anything_is_searched_where_nothing_is_learned(house):
    recommender = replace(house.recommender, selector=replace(house.recommender.selector, outcomes=None))
    thompson = asked(exploration_method=ExplorationMethod.THOMPSON)
    request = RecommendRequest(
        Question("u"), 3, ItemFilter(), SeenPolicy.HIDE_ALL_SEEN, explore=True, selection=thompson
    )
    with pytest.raises(ModelNotReady, match="RANKER_EXPLORATION_LEARNS"):
        await recommender.recommend(request)
    assert house.near.queries == []


async def test_a_pin_against_the_caps_or_the_files_blocks_is_refused(tmp_path):
    source = written(tmp_path, "selection:\n  block_item_ids: [i9]\n  pins: [{item_id: i7, position: 1}]\n")
    house = built(tmp_path, rules=source)
    house.live.apply([record(900 + n, Item(f"i{n}", f"T{n}", categories=("Z",))) for n in (7, 9, 11)])
    assert ids(await house.ask(k=3))[0] == "i7"
    assert "i9" not in ids(await house.ask(k=27))
    with pytest.raises(InvalidField, match="blocks") as caught:
        await house.ask(k=3, selection=asked(pins=(Pin("i9", 1),)))
    assert caught.value.violation.field == "selection.pins[0].item_id"
    over = asked(pins=(Pin("i7", 1), Pin("i11", 2)), category_caps=(("Z", 1),))
    with pytest.raises(InvalidField, match="'Z'"):
        await house.ask(k=3, selection=over)
    request = RecommendRequest(Question("u"), 3, ItemFilter(), SeenPolicy.HIDE_ALL_SEEN, selection=over)
    with pytest.raises(InvalidField) as caught:
        await house.recommender.batch([replace(request, selection=NO_OPTIONS), request])
    assert caught.value.violation.field == "requests[1].selection.pins[1].item_id"
    # A pin of the file gives way to what the request says.
    assert ids(await house.ask(k=3, selection=asked(pins=(Pin("i8", 1),))))[0] == "i8"
    assert "i7" not in ids(await house.ask(k=27, selection=asked(block_item_ids=frozenset({"i7"}))))
    assert ids(await house.ask(k=3, selection=asked(ignore_defaults=True)))[0] == "i3"


async def test_rank_and_explain_have_the_files_boosts(tmp_path):
    text = "selection:\n  rules:\n    - {name: z, when: {categories_any: [Z]}, boost: 3}\n"
    house = built(tmp_path, rules=written(tmp_path, text))
    house.live.apply([record(900, Item("i9", "T9", categories=("Z",)))])
    await house.train()
    shown = (await house.ask(k=1)).results[0]
    assert shown.item_id == "i9"
    ranked = await house.recommender.rank(RankRequest(Question("u"), ("i3", "i4", "i9"), explain=True))
    assert ids(ranked)[0] == "i9"
    explained = (await house.recommender.explain(ExplainRequest(Question("u"), ("i9",)))).results[0]
    assert explained.score == pytest.approx(shown.score, rel=1e-4)
    assert explained.explanation.groups["rules"] > 0


async def test_the_dial_and_the_method_come_from_the_file(tmp_path):
    house = built(tmp_path, rules=written(tmp_path, "diversity: 0.9\nselection: {diversity_method: dpp}\n"))
    await house.train()
    by_file = await house.ask(k=10)
    asked_for = await house.ask(k=10, diversity=0.9, selection=asked(diversity_method=DiversityMethod.DPP))
    by_score = await house.ask(k=10, diversity=0.0)
    assert ids(by_file) == ids(asked_for) != ids(by_score)
