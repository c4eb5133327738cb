"""Likes between two trainings: what live sources learn of the log."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from services.candidates.ports import HearsDislikes
from shared.data.nouns import EventType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.candidates.catalogue.table import ItemTable
    from services.candidates.live.histories import LiveHistories
    from services.candidates.ports import LiveSource
    from shared.data.nouns import Event, HistoryEvent
    from shared.data.preferences import PreferenceRules

MAX_PAIRS = 100_000
"""Pairs of user and item remembered, at most: 40 MB where every user has one."""


class LiveLikes:
    """Tells the live sources of a like once per user and item, as training counts it: a later dislike takes it back.

    Whether a user likes an item already is known from two places: the pairs counted here (at most `max_pairs`; the
    users longest without a new one are dropped first, all their pairs with them) and the user's history, when it is
    in memory and no further than the log. A like that is in neither counts again: one from before the training of a
    user whose history is not in memory (or is too long to hold it), or a dropped pair. So counts can run ahead of the
    truth between trainings, by one for each such repetition; the next training counts anew.

    A DISLIKE of an item that is not known to be liked is told to those that keep what was only tried. A low rating is
    not: training takes that as a try, too.
    """

    def __init__(
        self,
        sources: Sequence[LiveSource],
        table: ItemTable,
        histories: LiveHistories,
        rules: PreferenceRules,
        max_pairs: int = MAX_PAIRS,
    ) -> None:
        self._sources = sources
        self._hear_dislikes = [source for source in sources if isinstance(source, HearsDislikes)]
        self._table = table
        self._histories = histories
        self._rules = rules
        self._max_pairs = max_pairs
        self._counted: OrderedDict[str, dict[int, float]] = OrderedDict()
        self._pairs = 0

    def add(self, sequence: int, event: Event) -> float:
        """Takes the event of this log record in; call it before the histories take it in.

        Returns:
            Its strength when it is a like that was not there before, below 0 when it takes one back, else 0.

        """
        signal = self._rules.signal(event)
        if signal == 0:
            return 0.0
        row = self._table.row_of(event.item_id)
        liked_at = self._counted.get(event.user_id, {}).get(row)
        if liked_at is None:
            same = (one for one in self._histories.before(sequence, event.user_id) if one.item_id == event.item_id)
            liked_at = self._liked(same).get(event.item_id)
        if signal > 0 and liked_at is None:
            at = event.timestamp.timestamp()
            for source in self._sources:
                source.grow(row + 1)
                source.like(event.user_id, row, at)
            self._remember(event.user_id, row, at)
            return signal
        if signal < 0 and liked_at is not None:
            for source in self._sources:
                source.grow(row + 1)
                source.take_back(event.user_id, row, liked_at)
            self._drop(event.user_id, row)
            return signal
        if signal < 0 and event.type is EventType.DISLIKE:
            for hearing in self._hear_dislikes:
                hearing.dislike(event.user_id, row)
        return 0.0

    def grow(self, size: int) -> None:
        """Makes room for `size` rows of the table."""
        for source in self._sources:
            source.grow(size)

    def forget(self, sequence: int, user_id: str) -> None:
        """Takes the user's known likes back; call it before the histories forget the user.

        Likes from before the training of a user whose history is not in memory stay in the counts.
        """
        liked = self._liked(self._histories.before(sequence, user_id))
        known = {row: at for item_id, at in liked.items() if (row := self._table.rows.get(item_id)) is not None}
        counted = self._counted.pop(user_id, {})
        self._pairs -= len(counted)
        for source in self._sources:
            for row, at in {**known, **counted}.items():
                source.grow(row + 1)
                source.take_back(user_id, row, at)
            source.forget(user_id)

    def clear(self) -> None:
        """Forgets all pairs and counts: the log was replaced."""
        for source in self._sources:
            source.reset()
        self._counted.clear()
        self._pairs = 0

    def _liked(self, history: Iterable[HistoryEvent]) -> dict[str, float]:
        liked: dict[str, float] = {}
        for event in history:
            signal = self._rules.signal(event)
            if signal > 0:
                liked[event.item_id] = event.timestamp.timestamp()
            elif signal < 0:
                liked.pop(event.item_id, None)
        return liked

    def _remember(self, user_id: str, row: int, at: float) -> None:
        self._counted.setdefault(user_id, {})[row] = at
        self._counted.move_to_end(user_id)
        self._pairs += 1
        while self._pairs > self._max_pairs:
            _, dropped = self._counted.popitem(last=False)
            self._pairs -= len(dropped)

    def _drop(self, user_id: str, row: int) -> None:
        counted = self._counted.get(user_id)
        if counted is None or row not in counted:
            return
        del counted[row]
        self._pairs -= 1
        if not counted:
            del self._counted[user_id]
