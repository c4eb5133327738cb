"""The warm protocol: known users, known items, the newest fifth of each user's events to be foretold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.evaluator.protocols.plan import Plan, catalogue_of, counting, make_query, positive_items
from shared.data.splits import Protocol, by_user, per_user_chronological

if TYPE_CHECKING:
    from services.evaluator.ports import LogSnapshot
    from shared.data.preferences import PreferenceRules

SPLIT = (
    "Warm: each user's n events are sorted by (timestamp, item id), r counts from 0; history is r < ceil(0.8 n), "
    "relevant are the items with a positive from there on that are not in the history. The models saw r < ceil(0.8 n) "
    "only, the ranker's labels lie before that. The whole catalogue is ranked, items of the history are left out, "
    "nothing is sampled."
)


def plan_warm(snapshot: LogSnapshot, rules: PreferenceRules) -> Plan:
    """Returns the warm protocol's queries: the users with at least one relevant test item, in id order."""
    events = counting(snapshot.events, rules)
    queries = []
    for user, split in sorted(per_user_chronological(by_user(events)).items()):
        history = (*split.train, *split.validation)
        relevant = positive_items(split.test, rules) - {event.item_id for event in history}
        if relevant:
            queries.append(make_query(user, history, relevant))
    return Plan(Protocol.WARM, tuple(queries), catalogue_of(snapshot, events), None, SPLIT, {})
