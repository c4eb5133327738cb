"""A profile with some more events: what `build_profile` makes of the longer history, without reading it all again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.profile import Judged, Profile
from shared.data.nouns import EventType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from services.candidates.arrays import F32, F64, I64
    from shared.data.preferences import PreferenceRules


def extend_profile(
    profile: Profile, events: Iterable[Judged], rows: Mapping[str, int], rules: PreferenceRules, *, asked_at: float
) -> Profile:
    """Returns the profile of a history with these events after those that `profile` was made of.

    Args:
        profile: made by `build_profile` or by this function; it stays as it is.
        events: what came after its events, the oldest first.
        rows: the table's row of each item id.
        rules: how events become likes.
        asked_at: the time of the question, unix seconds.

    """
    made = _Parts(
        profile.liked,
        profile.strengths,
        profile.times,
        profile.tried,
        profile.tried_times,
        profile.seen,
        profile.bought,
        profile.disliked,
    )
    count = profile.events
    for event in events:
        if rules.counts(event):
            count += 1
            row = rows.get(event.item_id)
            if row is not None:
                made.add(row, event, rules.signal(event))
    return Profile(
        made.liked,
        made.strengths,
        made.seen,
        made.bought,
        count,
        made.times,
        made.tried,
        made.tried_times,
        asked_at,
        profile.user_id,
        made.disliked,
    )


@dataclass(eq=False)
class _Parts:
    """The arrays of a profile while events are added: each is replaced, never written to."""

    liked: I64
    strengths: F32
    times: F64
    tried: I64
    tried_times: F64
    seen: I64
    bought: I64
    disliked: I64

    def add(self, row: int, event: Judged, signal: float) -> None:
        at = event.timestamp.timestamp()
        self.seen = _with(self.seen, row)
        if event.type is EventType.PURCHASE:
            self.bought = _with(self.bought, row)
        if event.type is EventType.DISLIKE:
            self.disliked = _with(self.disliked, row)
        others = self.liked != row
        is_liked = signal > 0 or (signal == 0 and not others.all())
        if signal:
            before = self.strengths[~others]
            self.liked, self.strengths, self.times = self.liked[others], self.strengths[others], self.times[others]
            if signal > 0:
                self.liked = np.append(self.liked, row)
                self.strengths = np.append(self.strengths, np.float32(max(signal, before.max(initial=0))))
                self.times = np.append(self.times, at)
        others = self.tried != row
        self.tried, self.tried_times = self.tried[others], self.tried_times[others]
        if not is_liked and row not in self.disliked:
            self.tried = np.append(self.tried, row)
            self.tried_times = np.append(self.tried_times, at)


def _with(rows: I64, row: int) -> I64:
    """Returns ascending rows with this one among them."""
    place = int(np.searchsorted(rows, row))
    return rows if place < len(rows) and rows[place] == row else np.insert(rows, place, row)
