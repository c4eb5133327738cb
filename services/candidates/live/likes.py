"""Likes between two trainings: what popularity counts of the log."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.candidates.catalogue.table import ItemTable
    from services.candidates.live.histories import LiveHistories
    from services.candidates.sources.popular import PopularSource
    from shared.data.nouns import Event, HistoryEvent
    from shared.data.preferences import PreferenceRules

MAX_PAIRS = 100_000
"""Pairs of user and item remembered, at most: 40 MB where every user has one."""


class LiveLikes:
    """Counts a like once per user and item, as training does: a later dislike takes it back.

    Whether a user likes an item already is known from two places: the pairs counted here (at most `max_pairs`; the
    users longest without a new one are dropped first, all their pairs with them) and the user's history, when it is
    in memory and no further than the log. A like that is in neither counts again: one from before the training of a
    user whose history is not in memory (or is too long to hold it), or a dropped pair. So counts can run ahead of the
    truth between trainings, by one for each such repetition; the next training counts anew.
    """

    def __init__(
        self,
        popular: PopularSource,
        table: ItemTable,
        histories: LiveHistories,
        rules: PreferenceRules,
        max_pairs: int = MAX_PAIRS,
    ) -> None:
        self._popular = popular
        self._table = table
        self._histories = histories
        self._rules = rules
        self._max_pairs = max_pairs
        self._counted: OrderedDict[str, set[int]] = OrderedDict()
        self._pairs = 0

    def add(self, sequence: int, event: Event) -> None:
        """Takes the event of this log record in; call it before the histories take it in."""
        signal = self._rules.signal(event)
        if signal == 0:
            return
        row = self._table.row_of(event.item_id)
        self._popular.grow(row + 1)
        same = (one for one in self._histories.before(sequence, event.user_id) if one.item_id == event.item_id)
        likes = row in self._counted.get(event.user_id, ()) or event.item_id in self._liked(same)
        if signal > 0 and not likes:
            self._popular.add(row)
            self._remember(event.user_id, row)
        elif signal < 0 and likes:
            self._popular.take_back(row)
            self._drop(event.user_id, row)

    def forget(self, sequence: int, user_id: str) -> None:
        """Takes the user's known likes back; call it before the histories forget the user.

        Likes from before the training of a user whose history is not in memory stay in the counts.
        """
        liked = self._liked(self._histories.before(sequence, user_id))
        known = {row for item_id in liked if (row := self._table.rows.get(item_id)) is not None}
        counted = self._counted.pop(user_id, set())
        self._pairs -= len(counted)
        for row in known | counted:
            self._popular.grow(row + 1)
            self._popular.take_back(row)

    def clear(self) -> None:
        """Forgets all pairs and counts: the log was replaced."""
        self._popular.reset()
        self._counted.clear()
        self._pairs = 0

    def _liked(self, history: Iterable[HistoryEvent]) -> set[str]:
        liked: set[str] = set()
        for event in history:
            signal = self._rules.signal(event)
            if signal > 0:
                liked.add(event.item_id)
            elif signal < 0:
                liked.discard(event.item_id)
        return liked

    def _remember(self, user_id: str, row: int) -> None:
        self._counted.setdefault(user_id, set()).add(row)
        self._counted.move_to_end(user_id)
        self._pairs += 1
        while self._pairs > self._max_pairs:
            _, dropped = self._counted.popitem(last=False)
            self._pairs -= len(dropped)

    def _drop(self, user_id: str, row: int) -> None:
        counted = self._counted.get(user_id)
        if counted is None or row not in counted:
            return
        counted.remove(row)
        self._pairs -= 1
        if not counted:
            del self._counted[user_id]
