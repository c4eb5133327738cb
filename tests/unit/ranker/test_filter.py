"""Filter: what may be recommended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.ranker.features.profile import UserProfile
from services.ranker.items.catalogue import Catalogue
from services.ranker.items.table import ItemTable
from services.ranker.nouns import Question
from services.ranker.pipeline.call import Call
from services.ranker.pipeline.filter.filter import allowed_test, seen_items
from shared.data.nouns import AttributeRule, EventType, Item, ItemFilter, SeenPolicy

from .samples import RULES, START, seen

HISTORY = [
    seen("rated", 2.0),
    seen("shown", kind=EventType.IMPRESSION),
    seen("bought", kind=EventType.PURCHASE),
    seen("clicked", kind=EventType.CLICK),
]


def test_seen_policies():
    assert seen_items(HISTORY, SeenPolicy.HIDE_ALL_SEEN) == {"rated", "bought", "clicked"}
    assert seen_items(HISTORY, SeenPolicy.HIDE_BOUGHT) == {"bought"}
    assert seen_items(HISTORY, SeenPolicy.ALLOW_REPEATS) == frozenset()


@pytest.fixture
def catalogue(items) -> Catalogue:
    made = Catalogue()
    for item in items:
        made.put(item)
    made.put(Item("tagged", attributes={"tags": ("blue", "green"), "new": True, "brand": "acme"}))
    made.put(Item("later", available_from=START + timedelta(days=5)))
    made.put(Item("gone", available_until=START))
    return made


@pytest.mark.parametrize(
    ("item_filter", "allowed"),
    [
        (ItemFilter(), {"a", "b", "c", "d", "tagged", "unknown"}),
        (ItemFilter(exclude_item_ids=frozenset({"a", "unknown"})), {"b", "c", "d", "tagged"}),
        (ItemFilter(categories_any=frozenset({"Sci-Fi", "Drama"})), {"a", "b", "c"}),
        (ItemFilter(categories_all=frozenset({"Sci-Fi", "Horror"})), {"a"}),
        (ItemFilter(categories_none=frozenset({"Sci-Fi"})), {"c", "d", "tagged"}),
        (ItemFilter(attributes=(AttributeRule("year", range=(1979, 1985)),)), {"a", "b"}),
        (ItemFilter(attributes=(AttributeRule("year", range=(None, 1978.9)),)), {"c"}),
        (ItemFilter(attributes=(AttributeRule("tags", any_of=("red", "blue")),)), {"tagged"}),
        (ItemFilter(attributes=(AttributeRule("brand", any_of=("acme",)),)), {"tagged"}),
        (ItemFilter(attributes=(AttributeRule("new", equals=True),)), {"tagged"}),
        (ItemFilter(attributes=(AttributeRule("new", equals=False),)), set()),
        (ItemFilter(attributes=(AttributeRule("new", range=(0, 2)),)), set()),
    ],
)
def test_filters_and_availability(catalogue, item_filter, allowed):
    passes = catalogue.allows(item_filter, START + timedelta(days=1))
    every = ["a", "b", "c", "d", "tagged", "later", "gone", "unknown"]
    assert {item_id for item_id in every if passes(item_id)} == allowed


def test_availability_is_asked_at_the_time_of_the_question(catalogue):
    assert catalogue.allows(ItemFilter(), START + timedelta(days=5))("later")
    assert catalogue.allows(ItemFilter(), START - timedelta(seconds=1))("gone")


def test_a_deleted_item_never_passes(catalogue):
    catalogue.delete("a")
    assert not catalogue.allows(ItemFilter(), START)("a")


@pytest.mark.parametrize("policy", list(SeenPolicy))
@pytest.mark.parametrize("excluded", [frozenset(), frozenset({"a", "rated"})], ids=["none", "some"])
def test_a_call_may_be_shown_what_the_filter_allows_and_the_user_has_not_seen(catalogue, policy, excluded):
    catalogue.put(Item("rated", title="x"))
    catalogue.put(Item("later"))
    catalogue.put(Item("d", available_from=START + timedelta(days=5)))
    item_filter = ItemFilter(exclude_item_ids=excluded)
    at = START + timedelta(days=1)
    call = Call(Question("u"), None, ItemTable(RULES), at, profile=UserProfile.of(HISTORY, RULES))
    shown = allowed_test(call, catalogue, item_filter, policy)
    hidden = seen_items(call.user().history, policy)
    every = ["a", "b", "c", "d", "tagged", "later", "gone", "unknown", "rated", "bought", "clicked"]
    expected = {one for one in every if one not in hidden | excluded | {"gone", "d"}}
    assert {one for one in every if shown(one)} == expected
