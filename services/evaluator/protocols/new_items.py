"""The new-items protocol: items that no model has seen an event of, ranked among themselves."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from services.evaluator.protocols.plan import Plan, catalogue_of, counting, make_query, positive_items
from shared.data.limits import MAX_CANDIDATES
from shared.data.splits import Protocol, by_user, hidden_items

if TYPE_CHECKING:
    from services.evaluator.ports import LogSnapshot
    from shared.data.preferences import PreferenceRules

SPLIT = (
    "New items: of the items with at least 3 positives, in the order of the SHA-256 of their ids, the first fifth is "
    "hidden from every training ({hidden} items). History is all of a user's events on the other items, relevant are "
    "the hidden items with a positive of that user. The hidden items are ranked among themselves{cut}, nothing is "
    "sampled. Items that a source cannot score stand last, in the order of the SHA-256 of their ids."
)


def plan_new_items(snapshot: LogSnapshot, rules: PreferenceRules) -> Plan:
    """Returns the new-items protocol's queries: the users with a positive on a hidden item, in id order.

    One call ranks at most 2000 items, and scores compare within one answer only: of more hidden items, the first 2000
    in the order of their hashes are ranked, and the plan's words say so.
    """
    events = counting(snapshot.events, rules)
    hidden = hidden_items(event for event in events if rules.signal(event) > 0)
    pool = hash_order(hidden)[:MAX_CANDIDATES]
    ranked = frozenset(pool)
    queries = []
    for user, own in sorted(by_user(events).items()):
        relevant = positive_items(own, rules) & ranked
        if relevant:
            queries.append(make_query(user, [one for one in own if one.item_id not in hidden], relevant))
    cut = f" (the first {len(pool)} of them, the limit of one call)" if len(pool) < len(hidden) else ""
    return Plan(
        Protocol.NEW_ITEMS,
        tuple(queries),
        catalogue_of(snapshot, events),
        pool,
        SPLIT.format(hidden=len(hidden), cut=cut),
        {"hidden_items": len(hidden)},
    )


def hash_order(items: frozenset[str]) -> tuple[str, ...]:
    """Returns items in the order of the SHA-256, hex, of their ids.

    Fixed, and free of any pattern: ids themselves often grow with an item's age, which is half of its popularity.
    """
    return tuple(sorted(items, key=lambda one: hashlib.sha256(one.encode()).hexdigest()))
