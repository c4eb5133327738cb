"""What a request or the rules file asks of the list: its own nouns, and how the two are put together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.data.nouns import ItemFilter


class DiversityMethod(IntEnum):
    """How items are made unlike each other; the numbers of `fusionrec.ranker.v1.DiversityMethod`."""

    MMR = 1
    DPP = 2


class ExplorationMethod(IntEnum):
    """How chance moves items; the numbers of `fusionrec.ranker.v1.ExplorationMethod`."""

    PLACKETT_LUCE = 1
    THOMPSON = 2


class Action(IntEnum):
    """What a rule does to the items that match."""

    BOOST = 1
    BURY = 2
    REQUIRE = 3
    EXCLUDE = 4


@dataclass(frozen=True, slots=True)
class Pin:
    """An item at a place, counted from 1."""

    item_id: str
    position: int


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to items that match `when`; `amount` of BOOST and BURY in standard deviations of the scores."""

    name: str
    when: ItemFilter
    action: Action
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class SelectionOptions:
    """How the list is put together; None means "not said". `category_caps` are (category, most items) pairs."""

    diversity_method: DiversityMethod | None = None
    calibration: float | None = None
    long_tail: float | None = None
    category_caps: tuple[tuple[str, int], ...] = ()
    max_per_category: int | None = None
    pins: tuple[Pin, ...] = ()
    block_item_ids: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = ()
    min_new_share: float | None = None
    exploration_method: ExplorationMethod | None = None
    ignore_defaults: bool = False


NO_OPTIONS = SelectionOptions()


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the rules file says; None in `diversity` means "not said"."""

    diversity: float | None = None
    selection: SelectionOptions = NO_OPTIONS


NO_DEFAULTS = Defaults()


@dataclass(frozen=True, slots=True)
class Plan:
    """What holds for one list. `default_pins` are those of the rules file: they give way, pins of a request do not."""

    diversity: float = 0.0
    diversity_method: DiversityMethod = DiversityMethod.MMR
    calibration: float = 0.0
    long_tail: float = 0.0
    category_caps: tuple[tuple[str, int], ...] = ()
    max_per_category: int | None = None
    pins: tuple[Pin, ...] = ()
    default_pins: tuple[Pin, ...] = ()
    block_item_ids: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = ()
    min_new_share: float | None = None
    exploration_method: ExplorationMethod = ExplorationMethod.PLACKETT_LUCE

    @property
    def all_pins(self) -> tuple[Pin, ...]:
        """The pins of the request, then those of the rules file."""
        return (*self.pins, *self.default_pins)

    def rules_of(self, *actions: Action) -> list[Rule]:
        """Returns the rules with one of these actions."""
        return [rule for rule in self.rules if rule.action in actions]


def plan_of(
    asked: SelectionOptions,
    diversity: float | None,
    defaults: Defaults,
    *,
    default_diversity: float,
    default_exploration: ExplorationMethod,
) -> Plan:
    """Returns what holds: what is asked, else what the rules file says, else the settings.

    Blocks and rules of both hold together. A pin of the file whose place or item a pin of the request has, or whose
    item the request blocks, gives way; so does a rule of the file with the name of one that is asked.
    """
    file = NO_DEFAULTS if asked.ignore_defaults else defaults
    stored = file.selection
    taken = {pin.position for pin in asked.pins}
    named = {pin.item_id for pin in asked.pins} | asked.block_item_ids
    rule_names = {rule.name for rule in asked.rules}
    capped = {category for category, _ in asked.category_caps}
    return Plan(
        diversity=_first(diversity, file.diversity, default_diversity),
        diversity_method=asked.diversity_method or stored.diversity_method or DiversityMethod.MMR,
        calibration=_first(asked.calibration, stored.calibration, 0.0),
        long_tail=_first(asked.long_tail, stored.long_tail, 0.0),
        category_caps=(*asked.category_caps, *(one for one in stored.category_caps if one[0] not in capped)),
        max_per_category=stored.max_per_category if asked.max_per_category is None else asked.max_per_category,
        pins=asked.pins,
        default_pins=tuple(p for p in stored.pins if p.position not in taken and p.item_id not in named),
        block_item_ids=asked.block_item_ids | stored.block_item_ids,
        rules=(*asked.rules, *(rule for rule in stored.rules if rule.name not in rule_names)),
        min_new_share=stored.min_new_share if asked.min_new_share is None else asked.min_new_share,
        exploration_method=asked.exploration_method or stored.exploration_method or default_exploration,
    )


def _first(asked: float | None, stored: float | None, default: float) -> float:
    if asked is not None:
        return asked
    return default if stored is None else stored
