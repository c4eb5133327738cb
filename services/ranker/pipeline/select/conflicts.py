"""What contradicts itself in options: found when a request is decoded and when a rules file is read."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from services.ranker.pipeline.select.options import Action
from shared.errors import InvalidField

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from services.ranker.pipeline.select.options import Rule, SelectionOptions
    from shared.data.nouns import AttributeRule


def check_conflicts(options: SelectionOptions, field: str) -> None:
    """Refuses options that cannot hold together.

    Raises:
        InvalidField: the path of the first field that contradicts an earlier one begins with `field`.

    """
    _once([category for category, _ in options.category_caps], f"{field}.category_caps", "category")
    _once([pin.position for pin in options.pins], f"{field}.pins", "position")
    _once([pin.item_id for pin in options.pins], f"{field}.pins", "item_id")
    _once([rule.name for rule in options.rules], f"{field}.rules", "name")
    for index, pin in enumerate(options.pins):
        if pin.item_id in options.block_item_ids:
            hint = "take it out of the pins or out of block_item_ids"
            raise InvalidField(f"{field}.pins[{index}].item_id", pin.item_id, "no pin of a blocked item", hint)
    for (_, first), (index, second) in combinations(enumerate(options.rules), 2):
        reason = _contradiction(first, second)
        if reason:
            hint = f"it contradicts rule {first.name!r}: {reason}; leave one of the two out"
            raise InvalidField(f"{field}.rules[{index}]", second.name, "rules that can hold together", hint)


def _once(values: Iterable[Hashable], field: str, name: str) -> None:
    seen: set[Hashable] = set()
    for index, value in enumerate(values):
        if value in seen:
            raise InvalidField(f"{field}[{index}].{name}", value, "none twice", "leave the second one out")
        seen.add(value)


def _contradiction(first: Rule, second: Rule) -> str:
    """Returns why two rules cannot both hold; empty when they can."""
    actions = {first.action, second.action}
    if actions == {Action.BOOST, Action.BURY} and first.when == second.when:
        return "one lifts the items that the other lowers"
    if actions == {Action.REQUIRE, Action.EXCLUDE}:
        required, excluded = (first, second) if first.action is Action.REQUIRE else (second, first)
        if required.when == excluded.when or _covered(required, excluded):
            return "one requires what the other excludes"
    if actions == {Action.REQUIRE}:
        mine, other = first.when, second.when
        if mine.categories_all & other.categories_none or other.categories_all & mine.categories_none:
            return "no item has and lacks a category"
        for left in mine.attributes:
            for right in other.attributes:
                if left.name == right.name and _disjoint(left, right):
                    return f"no item has both values of {left.name!r}"
    return ""


def _covered(required: Rule, excluded: Rule) -> bool:
    """Returns whether a rule by categories alone excludes every item that the other requires."""
    when = excluded.when
    if when.categories_all or when.categories_none or when.attributes:
        return False
    any_of = required.when.categories_any
    return bool((any_of and any_of <= when.categories_any) or required.when.categories_all & when.categories_any)


def _disjoint(left: AttributeRule, right: AttributeRule) -> bool:
    if left.range is not None and right.range is not None:
        (low, high), (other_low, other_high) = left.range, right.range
        return (high is not None and other_low is not None and high < other_low) or (
            other_high is not None and low is not None and other_high < low
        )
    if left.equals is not None and right.equals is not None:
        return left.equals is not right.equals
    # Lists of words: an item may have one of each.
    kinds = [(one.any_of is not None, one.range is not None, one.equals is not None) for one in (left, right)]
    return kinds[0] != kinds[1]
