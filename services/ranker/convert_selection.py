"""Options of the list, protobuf to domain: of a request, and of the rules file, which is written in the same terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from services.ranker.pipeline.select.conflicts import check_conflicts
from services.ranker.pipeline.select.options import (
    NO_OPTIONS,
    Action,
    DiversityMethod,
    ExplorationMethod,
    Pin,
    Rule,
    SelectionOptions,
)
from shared.data import limits
from shared.data.nouns import ItemFilter
from shared.data.validation import check_count, check_id, check_int, check_number, check_text
from shared.errors import InvalidField
from shared.rpc.convert import decode_filter

if TYPE_CHECKING:
    from enum import IntEnum

    from fusionrec.ranker.v1 import ranker_service_pb2 as pb

    E = TypeVar("E", bound=IntEnum)
    _Share: TypeAlias = Literal["calibration", "long_tail", "min_new_share"]

NO_CONDITION = ItemFilter()
_ACTIONS = {"boost": Action.BOOST, "bury": Action.BURY, "require": Action.REQUIRE, "exclude": Action.EXCLUDE}


def decode_selection(message: pb.SelectionOptions, field: str, k: int = limits.MAX_RECOMMEND_K) -> SelectionOptions:
    """Returns the options of a list of `k`.

    Raises:
        InvalidField, LimitExceeded: a field breaks the contract, or contradicts another one.

    """
    if not message.ListFields():
        return NO_OPTIONS
    check_count(message.category_caps, f"{field}.category_caps", limits.MAX_CATEGORY_CAPS)
    check_count(message.pins, f"{field}.pins", limits.MAX_PINS)
    check_count(message.block_item_ids, f"{field}.block_item_ids", limits.MAX_BLOCKED_ITEMS)
    check_count(message.rules, f"{field}.rules", limits.MAX_SELECTION_RULES)
    most = None
    if message.HasField("max_per_category"):
        most = check_int(message.max_per_category, f"{field}.max_per_category", 1, limits.MAX_RECOMMEND_K)
    options = SelectionOptions(
        diversity_method=_enum(DiversityMethod, message.diversity_method, f"{field}.diversity_method"),
        calibration=_share(message, "calibration", field),
        long_tail=_share(message, "long_tail", field),
        category_caps=tuple(_cap(one, f"{field}.category_caps[{i}]") for i, one in enumerate(message.category_caps)),
        max_per_category=most,
        pins=tuple(_pin(one, f"{field}.pins[{i}]", k) for i, one in enumerate(message.pins)),
        block_item_ids=frozenset(
            check_id(one, f"{field}.block_item_ids[{i}]") for i, one in enumerate(message.block_item_ids)
        ),
        rules=tuple(_rule(one, f"{field}.rules[{i}]") for i, one in enumerate(message.rules)),
        min_new_share=_share(message, "min_new_share", field),
        exploration_method=_enum(ExplorationMethod, message.exploration_method, f"{field}.exploration_method"),
        ignore_defaults=message.ignore_defaults,
    )
    check_conflicts(options, field)
    return options


def check_together(message: pb.RecommendRequest, options: SelectionOptions, prefix: str = "") -> None:
    """Refuses options that contradict the rest of a request.

    Raises:
        InvalidField: names the field.

    """
    field = f"{prefix}selection"
    excluded = set(message.filter.exclude_item_ids) if options.pins else set()
    for index, pin in enumerate(options.pins):
        if pin.item_id in excluded:
            hint = "take it out of the pins or out of filter.exclude_item_ids"
            raise InvalidField(f"{field}.pins[{index}].item_id", pin.item_id, "no pin of an excluded item", hint)
    if options.min_new_share is not None and message.HasField("new_item_slots"):
        hint = "ask for one of the two: both say how many places are kept"
        raise InvalidField(f"{field}.min_new_share", options.min_new_share, "not with new_item_slots", hint)
    if message.explore and options.calibration:
        hint = "ask for one of the two: the propensities of exploration hold for an order by score"
        raise InvalidField(f"{field}.calibration", options.calibration, "0 together with explore", hint)
    asked_new = {f"{field}.min_new_share": options.min_new_share, f"{prefix}new_item_slots": message.new_item_slots}
    for name, value in asked_new.items():
        if message.explore and value:
            hint = "ask for one of the two: a place that is kept is not left to chance"
            raise InvalidField(name, value, "0 together with explore", hint)
    if options.exploration_method is not None and not message.explore:
        hint = "set explore, or leave the method out"
        raise InvalidField(f"{field}.exploration_method", options.exploration_method.name, "with explore only", hint)


def _cap(message: pb.CategoryCap, field: str) -> tuple[str, int]:
    most = check_int(message.max_items, f"{field}.max_items", 0, limits.MAX_RECOMMEND_K)
    return check_id(message.category, f"{field}.category"), most


def _pin(message: pb.Pin, field: str, k: int) -> Pin:
    return Pin(check_id(message.item_id, f"{field}.item_id"), check_int(message.position, f"{field}.position", 1, k))


def _rule(message: pb.SelectionRule, field: str) -> Rule:
    name = check_text(message.name, f"{field}.name", limits.MAX_RULE_NAME_BYTES, required=True)
    if message.when.exclude_item_ids:
        hint = "use block_item_ids"
        raise InvalidField(f"{field}.when.exclude_item_ids", len(message.when.exclude_item_ids), "none here", hint)
    when = decode_filter(message.when, f"{field}.when")
    if when == NO_CONDITION:
        raise InvalidField(f"{field}.when", "", "a condition", "name a category or an attribute")
    kind = message.WhichOneof("action")
    if kind is None:
        raise InvalidField(field, name, "one action", "set boost, bury, require or exclude")
    action = _ACTIONS[kind]
    if action in (Action.REQUIRE, Action.EXCLUDE):
        if not getattr(message, kind):
            raise InvalidField(f"{field}.{kind}", "false", "true", "leave a rule out that is not to hold")
        return Rule(name, when, action)
    amount = check_number(getattr(message, kind), f"{field}.{kind}", 0.0, limits.MAX_RULE_AMOUNT)
    if amount == 0:
        raise InvalidField(f"{field}.{kind}", amount, "above 0", "leave a rule out that is to do nothing")
    return Rule(name, when, action, amount)


def _share(message: pb.SelectionOptions, name: _Share, field: str) -> float | None:
    if not message.HasField(name):
        return None
    return check_number(getattr(message, name), f"{field}.{name}", 0.0, 1.0)


def _enum(kind: type[E], number: int, field: str) -> E | None:
    if not number:
        return None
    try:
        return kind(number)
    except ValueError as error:
        known = ", ".join(one.name for one in kind)
        raise InvalidField(field, number, f"a known {kind.__name__}", f"use one of {known}") from error
