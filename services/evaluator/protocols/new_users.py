"""The new-users protocol: users that no model has seen, after their first 1, 3, 5 and 10 events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.evaluator.protocols.plan import Plan, catalogue_of, counting, make_query, positive_items
from shared.data.splits import NEW_USER_HISTORIES, Protocol, by_user, hidden_users

if TYPE_CHECKING:
    from services.evaluator.ports import LogSnapshot
    from shared.data.preferences import PreferenceRules

SPLIT = (
    "New users: of the users in the order of the SHA-256 of their ids, the first fifth is hidden from every training "
    "({hidden} users). Their first {lengths} events, by (timestamp, item id), are the history; relevant are the items "
    "with a later positive that are not in the history. The whole catalogue is ranked, items of the history are left "
    "out, nothing is sampled. The figure of a model is the mean of its figures at the history lengths, which stand in "
    "by_history."
)


def plan_new_users(snapshot: LogSnapshot, rules: PreferenceRules) -> Plan:
    """Returns the new-users protocol's queries, by user and history length, where an item is left to be found."""
    events = counting(snapshot.events, rules)
    users = by_user(events)
    hidden = hidden_users(events)
    queries = []
    for user in sorted(hidden):
        own = users[user]
        for length in NEW_USER_HISTORIES:
            history, later = own[:length], own[length:]
            relevant = positive_items(later, rules) - {event.item_id for event in history}
            if len(history) == length and relevant:
                queries.append(make_query(user, history, relevant, history_length=length))
    lengths = ", ".join(str(length) for length in NEW_USER_HISTORIES)
    return Plan(
        Protocol.NEW_USERS,
        tuple(queries),
        catalogue_of(snapshot, events),
        None,
        SPLIT.format(hidden=len(hidden), lengths=lengths),
        {"hidden_users": len(hidden)},
    )
