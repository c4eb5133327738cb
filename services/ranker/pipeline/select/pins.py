"""Pins: which of them can stand, and the list with them in their places."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from services.ranker.pipeline.select.selection import Selection
from shared.errors import InvalidField

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.ranker.items.catalogue import Catalogue
    from services.ranker.pipeline.select.options import Pin, Plan

FIELD = "selection.pins"


def usable_pins(
    plan: Plan, k: int, catalogue: Catalogue, passes: Callable[[str], bool]
) -> tuple[tuple[Pin, ...], tuple[str, ...]]:
    """Returns the pins that can stand in a list of `k`, and why the others cannot.

    Raises:
        InvalidField: the request pins what the rules file blocks, or more of a category than the caps allow.

    """
    if not plan.pins and not plan.default_pins:
        return (), ()
    caps, counts = dict(plan.category_caps), Counter[str]()
    kept: list[Pin] = []
    unmet: list[str] = []
    for turn, pin in enumerate(plan.all_pins):
        asked = turn < len(plan.pins)
        if asked and pin.item_id in plan.block_item_ids:
            hint = "leave the pin out, or set ignore_defaults"
            raise InvalidField(f"{FIELD}[{turn}].item_id", pin.item_id, "no pin of what the rules file blocks", hint)
        full = _full(catalogue, pin.item_id, caps, plan.max_per_category, counts)
        if asked and full:
            hint = f"the cap of category {full!r} is below its pins: raise it or leave a pin out"
            raise InvalidField(f"{FIELD}[{turn}].item_id", pin.item_id, "no more pins than the caps allow", hint)
        reason = _why_not(pin, k, catalogue, passes, full)
        if reason:
            unmet.append(f"pin {pin.item_id} at {pin.position}: {reason}")
            continue
        kept.append(pin)
        counts.update(_categories(catalogue, pin.item_id))
    return tuple(kept), tuple(unmet)


def woven(free: Selection, pinned: Mapping[int, int], unmet: Sequence[str]) -> Selection:
    """Returns the list with `pinned` (place by position) where they belong; past its end, they come last in order."""
    if not pinned:
        return Selection(free.places, free.propensities, unmet=tuple(unmet))
    places: list[int] = []
    propensities: list[float] = []
    waiting, rest = dict(sorted(pinned.items())), list(zip(free.places, free.propensities, strict=True))
    rest.reverse()
    missed = list(unmet)
    while rest or waiting:
        position = len(places) + 1
        if position in waiting:
            place, propensity = waiting.pop(position), 1.0
        elif rest:
            place, propensity = rest.pop()
        else:
            asked = next(iter(waiting))
            place, propensity = waiting.pop(asked), 1.0
            missed.append(f"a pin at {asked}: it stands at {position}, the list has too few items")
        places.append(place)
        propensities.append(propensity)
    return Selection(places, propensities, frozenset(pinned.values()), tuple(missed))


def _full(
    catalogue: Catalogue, item_id: str, caps: Mapping[str, int], default: int | None, counts: Mapping[str, int]
) -> str:
    for name in _categories(catalogue, item_id):
        limit = caps.get(name, default)
        if limit is not None and counts.get(name, 0) >= limit:
            return name
    return ""


def _why_not(pin: Pin, k: int, catalogue: Catalogue, passes: Callable[[str], bool], full: str) -> str:
    if pin.position > k:
        return f"the list has {k} places"
    if catalogue.get(pin.item_id) is None:
        return "it is not in the catalogue"
    if not passes(pin.item_id):
        return "it is not available, or the filter or a rule leaves it out"
    return f"the cap of category {full!r} is reached" if full else ""


def _categories(catalogue: Catalogue, item_id: str) -> tuple[str, ...]:
    item = catalogue.get(item_id)
    return () if item is None else item.categories
