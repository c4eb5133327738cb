"""The same models asked about a part of the history: evidence for the ranker, no lists unless asked for.

What a user liked last often says more than all of it, and only the models here can say what they make of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.candidates.arrays import F32, I64
    from services.candidates.index.allowed import Allowed
    from services.candidates.ports import Proposal, Source
    from services.candidates.profile import Profile


class ViewSource:
    """A source asked about `view(profile)` instead of the profile."""

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

    def propose(self, profile: Profile, n: int, allowed: Allowed) -> Proposal:
        """Returns the source's list for the view of the profile."""
        return self._source.propose(self._view(profile), n, allowed)

    def score(self, profile: Profile, rows: I64) -> F32:
        """Returns the source's scores for the view of the profile."""
        return self._source.score(self._view(profile), rows)


_VIEWS: tuple[tuple[str, str, str, Callable[[Profile], Profile]], ...] = (
    ("item_item_recent", "item_item", "item_item of the five newest likes", lambda user: user.newest(5)),
    ("item_item_decayed", "item_item", "item_item, a like's weight halved every ten", lambda user: user.decayed(10)),
    ("als_recent", "als", "als of the ten newest likes", lambda user: user.newest(10)),
    ("aligned_text_recent", "aligned_text", "aligned_text for the ten newest likes", lambda user: user.newest(10)),
)

VIEW_NAMES = tuple(name for name, *_ in _VIEWS)


def views(sources: Mapping[str, Source]) -> tuple[ViewSource, ...]:
    """Returns the views that the fusion model reads, of the sources that are there."""
    return tuple(
        ViewSource(name, description, sources[of], view) for name, of, description, view in _VIEWS if of in sources
    )
