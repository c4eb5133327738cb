"""Which histories have changed of late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.ingestion.adapters.recent_changes import RecentChanges

users = st.sampled_from("abcdef")


@given(st.lists(st.lists(users, max_size=3), max_size=30), st.integers(1, 4), st.integers(0, 5), users)
def test_a_change_is_never_overlooked(groups, capacity, floor, user):
    changes, last = RecentChanges(floor, capacity=capacity), dict.fromkeys("abcdef", floor)
    for sequence, group in enumerate(groups, floor + 1):
        changes.note(group, sequence)
        last.update(dict.fromkeys(group, sequence))
    for sequence in range(floor + len(groups) + 1):
        if changes.none_since(user, sequence):
            assert sequence >= last[user]


def test_who_is_remembered_is_told_exactly():
    changes = RecentChanges(10)
    changes.note(["a"], 12)
    assert [changes.none_since("a", known) for known in (10, 11, 12, 13)] == [False, False, True, True]
    assert [changes.none_since("b", known) for known in (9, 10)] == [False, True]


def test_who_is_dropped_raises_the_floor():
    changes = RecentChanges(0, capacity=1)
    changes.note(["a"], 5)
    changes.note(["b"], 6)
    assert [changes.none_since("a", known) for known in (4, 5)] == [False, True]
    assert not changes.none_since("b", 5)
