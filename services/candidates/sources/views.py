"""The same models asked about a part of the history: evidence for the ranker, no lists unless asked for.

What a user liked last often says more than all of it, and only the models here can say what they make of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.candidates.arrays import F32, I64, Mask
    from services.candidates.ports import Proposal, Source
    from services.candidates.profile import Profile


class ViewSource:
    """A source asked about `view(profile)` instead of the profile. Proposes only when it is asked for by name."""

    proposes = False

    def __init__(self, name: str, description: str, source: Source, view: Callable[[Profile], Profile]) -> None:
        self.name = name
        self.description = description
        self._source = source
        self._view = view

    @property
    def n_items(self) -> int:
        """Items it can score."""
        return self._source.n_items

    def propose(self, profile: Profile, n: int, allowed: Mask) -> Proposal:
        """Returns the source's list for the view of the profile."""
        return self._source.propose(self._view(profile), n, allowed)

    def score(self, profile: Profile, rows: I64) -> F32:
        """Returns the source's scores for the view of the profile."""
        return self._source.score(self._view(profile), rows)


def views(als: Source, item_item: Source, text: Source) -> tuple[ViewSource, ...]:
    """Returns the views that the fusion model reads, under the names it knows them by."""
    return (
        ViewSource("item_item_recent", "item_item of the five newest likes", item_item, lambda user: user.newest(5)),
        ViewSource(
            "item_item_decayed", "item_item, a like's weight halved every ten", item_item, lambda user: user.decayed(10)
        ),
        ViewSource("als_recent", "als of the ten newest likes", als, lambda user: user.newest(10)),
        ViewSource("text_recent", "text for the ten newest likes", text, lambda user: user.newest(10)),
    )
