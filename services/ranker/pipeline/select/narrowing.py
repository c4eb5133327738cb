"""What blocks and rules leave: asked of candidates as far as a filter can say it, checked here in full."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.ranker.pipeline.select.options import Action
from shared.data.limits import MAX_EXCLUDED_ITEMS, MAX_FILTER_CATEGORIES, MAX_FILTER_RULES

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.ranker.items.catalogue import Catalogue
    from services.ranker.pipeline.select.options import Plan, Rule
    from shared.data.nouns import ItemFilter


def narrowed(item_filter: ItemFilter, plan: Plan, catalogue: Catalogue) -> ItemFilter:
    """Returns the filter with as much of the plan as it can hold: what it cannot, `passing` sees to.

    An attribute that no item has is left out: candidates would refuse it, and a rule of the file is not the caller's.
    """
    blocked = item_filter.exclude_item_ids | plan.block_item_ids
    if len(blocked) <= MAX_EXCLUDED_ITEMS:
        item_filter = replace(item_filter, exclude_item_ids=blocked)
    for rule in plan.rules_of(Action.EXCLUDE):
        none = item_filter.categories_none | rule.when.categories_any
        if not _is_late(rule) and len(none) <= MAX_FILTER_CATEGORIES:
            item_filter = replace(item_filter, categories_none=none)
    for rule in plan.rules_of(Action.REQUIRE):
        item_filter = _with_required(item_filter, rule.when, catalogue)
    return item_filter


def late_rules(plan: Plan, narrow: ItemFilter, catalogue: Catalogue) -> list[str]:
    """Returns the names of the rules that the `narrowed` filter does not hold: what they bar takes places."""
    late = [
        rule.name
        for rule in plan.rules_of(Action.EXCLUDE)
        if _is_late(rule) or not rule.when.categories_any <= narrow.categories_none
    ]
    return late + [rule.name for rule in plan.rules_of(Action.REQUIRE) if not _is_held(rule.when, narrow, catalogue)]


def _is_held(required: ItemFilter, narrow: ItemFilter, catalogue: Catalogue) -> bool:
    known = {rule for rule in required.attributes if rule.name in catalogue.attribute_names}
    return (
        (
            not required.categories_any
            or (bool(narrow.categories_any) and narrow.categories_any <= required.categories_any)
        )
        and required.categories_all <= narrow.categories_all
        and required.categories_none <= narrow.categories_none
        and known <= set(narrow.attributes)
    )


def _is_late(exclude: Rule) -> bool:
    """Returns whether an EXCLUDE rule asks for more than one of some categories: "not all of" is no filter."""
    when = exclude.when
    return bool(when.categories_all or when.categories_none or when.attributes)


def _with_required(item_filter: ItemFilter, when: ItemFilter, catalogue: Catalogue) -> ItemFilter:
    if when.categories_any and not item_filter.categories_any:
        item_filter = replace(item_filter, categories_any=when.categories_any)
    every, none = item_filter.categories_all | when.categories_all, item_filter.categories_none | when.categories_none
    if max(len(every), len(none)) <= MAX_FILTER_CATEGORIES:
        item_filter = replace(item_filter, categories_all=every, categories_none=none)
    known = tuple(rule for rule in when.attributes if rule.name in catalogue.attribute_names)
    if len(item_filter.attributes) + len(known) <= MAX_FILTER_RULES:
        item_filter = replace(item_filter, attributes=item_filter.attributes + known)
    return item_filter


def passing(plan: Plan, catalogue: Catalogue) -> Callable[[str], bool]:
    """Returns a test of one item id: not blocked, of what is required, not of what is excluded."""
    required = [catalogue.matches(rule.when) for rule in plan.rules_of(Action.REQUIRE)]
    excluded = [catalogue.matches(rule.when) for rule in plan.rules_of(Action.EXCLUDE)]
    blocked = plan.block_item_ids

    def passes(item_id: str) -> bool:
        if item_id in blocked or not all(matches(item_id) for matches in required):
            return False
        return not any(matches(item_id) for matches in excluded)

    return passes
