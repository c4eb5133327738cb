"""How items do when they are shown: impressions joined to what came of them by attribution token.

Everything is counted from the log in its order: replicas that read the same log know the same, and a restart reads it
again. Only forgetting makes them differ: a replica that runs on takes back the impressions of a forgotten user that are
still open, and keeps in its sums, without a name, what older ones added; the log of one that starts later has neither.
For each item: lift ~ Gamma(PRIOR + successes, PRIOR + expected successes), the posterior of a Poisson
rate relative to what items at the same positions get (position bias is taken out by that); 1 is as good as the others.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shared.data.nouns import Event, EventType, UserForgotten
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from services.ranker.items.arrays import F32
    from shared.data.nouns import LogRecord
    from shared.data.preferences import PreferenceRules

PRIOR = 4.0
"""Expected successes that an item never shown is believed to have had, all of them met."""
PRIOR_DEVIATION = 0.5327
"""Standard deviation of the logarithm of Gamma(PRIOR, PRIOR): the square root of trigamma(4)."""
BUCKET_ENDS = (1, 2, 3, 5, 10, 20, 50)
"""Last positions of the position buckets; one more holds all beyond."""
BASE_RATE, BASE_IMPRESSIONS = 0.05, 20.0
"""What a bucket is believed to give before anything is known of it."""
MAX_EARLY = 10_000
"""Outcomes that wait for their impression, which is written a little after the reply."""


@dataclass(slots=True)
class Shown:
    """An impression whose outcome may still come."""

    row: int
    bucket: int
    user_id: str
    succeeded: bool = False


class Outcomes:
    """Counts by item; the event loop writes, other threads read.

    `open_impressions`: the newest impressions that outcomes are joined to; what comes of an older one is not counted.
    `max_items`: items that are counted; later ones are left at what is believed of any.
    """

    def __init__(self, preferences: PreferenceRules, *, open_impressions: int, max_items: int) -> None:
        self._preferences = preferences
        self._capacity = open_impressions
        self._max_items = max_items
        self.reset()

    def reset(self) -> None:
        """Drops everything: the log was replaced by another one."""
        buckets = len(BUCKET_ENDS) + 1
        self._rows: dict[str, int] = {}
        self._shown: NDArray[np.float32] = np.zeros((0, buckets), dtype=np.float32)
        self._successes: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self._bucket_shown = np.zeros(buckets)
        self._bucket_successes = np.zeros(buckets)
        self._open: OrderedDict[str, Shown] = OrderedDict()
        self._of_user: dict[str, set[str]] = {}
        self._early: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def apply(self, records: Iterable[LogRecord]) -> None:
        """Takes a stretch of the log."""
        for record in records:
            match record.body:
                case Event(attribution_token=token) as event if token:
                    if event.type is EventType.IMPRESSION:
                        self._show(event)
                    elif self._preferences.signal(event) > 0:
                        self._succeed(event)
                case UserForgotten(user_id):
                    self._forget(user_id)

    def lifts(self, item_ids: Sequence[str], draws: int, random: np.random.Generator) -> F32:
        """Returns samples of the logarithm of each item's lift, float32 (draws, n), in deviations of the prior."""
        shapes, rates = self.posterior(item_ids)
        drawn = random.gamma(shapes, size=(draws, len(item_ids))) / rates
        return np.asarray(np.log(np.maximum(drawn, 1e-12)) / PRIOR_DEVIATION, dtype=np.float32)

    def posterior(self, item_ids: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns shape and rate of each item's Gamma posterior: float64 (n,) each; the mean is shape / rate."""
        shown, successes = self._shown, self._successes
        rows = np.array([self._rows.get(item_id, -1) for item_id in item_ids], dtype=np.intp)
        known = (rows >= 0) & (rows < min(len(shown), len(successes)))
        base = (self._bucket_successes + BASE_RATE * BASE_IMPRESSIONS) / (self._bucket_shown + BASE_IMPRESSIONS)
        shapes, rates = np.full(len(rows), PRIOR), np.full(len(rows), PRIOR)
        shapes[known] += successes[rows[known]]
        rates[known] += shown[rows[known]] @ base
        return shapes, rates

    def _show(self, event: Event) -> None:
        token = event.attribution_token
        row = self._row(event.item_id)
        if row is None or token in self._open:
            return
        bucket = int(np.searchsorted(BUCKET_ENDS, max(event.position, 1)))
        self._count(row, bucket, shown=1, successes=0)
        self._open[token] = Shown(row, bucket, event.user_id)
        self._of_user.setdefault(event.user_id, set()).add(token)
        if len(self._open) > self._capacity:
            oldest, one = self._open.popitem(last=False)
            self._close(oldest, one.user_id)
        metrics.EXPLORE_OUTCOMES.labels("impression").inc()
        if self._early.pop(token, None) == (event.item_id, event.user_id):
            self._succeed(event)

    def _succeed(self, event: Event) -> None:
        """Counts a success. `event` is what the user did, or the impression whose success came before it."""
        token = event.attribution_token
        shown = self._open.get(token)
        if shown is None:
            self._early[token] = (event.item_id, event.user_id)
            if len(self._early) > MAX_EARLY:
                self._early.popitem(last=False)
            return
        # Once per impression, for the item that was shown and the user who saw it: a token is the caller's to send.
        if shown.succeeded or event.user_id != shown.user_id or self._rows.get(event.item_id) != shown.row:
            return
        shown.succeeded = True
        self._count(shown.row, shown.bucket, shown=0, successes=1)
        metrics.EXPLORE_OUTCOMES.labels("success").inc()

    def _forget(self, user_id: str) -> None:
        for token in self._of_user.pop(user_id, ()):
            one = self._open.pop(token)
            self._count(one.row, one.bucket, shown=-1, successes=-int(one.succeeded))
        for token in [token for token, (_, user) in self._early.items() if user == user_id]:
            del self._early[token]

    def _close(self, token: str, user_id: str) -> None:
        own = self._of_user[user_id]
        own.discard(token)
        if not own:
            del self._of_user[user_id]

    def _count(self, row: int, bucket: int, *, shown: int, successes: int) -> None:
        self._shown[row, bucket] += shown
        self._successes[row] += successes
        self._bucket_shown[bucket] += shown
        self._bucket_successes[bucket] += successes

    def _row(self, item_id: str) -> int | None:
        row = self._rows.get(item_id)
        if row is not None:
            return row
        row = len(self._rows)
        if row >= self._max_items:
            return None
        if row >= len(self._successes):
            more = max(1024, len(self._successes) // 2)
            self._shown = np.concatenate([self._shown, np.zeros((more, self._shown.shape[1]), dtype=np.float32)])
            self._successes = np.concatenate([self._successes, np.zeros(more, dtype=np.float32)])
        self._rows[item_id] = row
        return row
