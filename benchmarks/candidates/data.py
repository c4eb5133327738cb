"""What the parts on MovieLens are measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.testing.movielens import movielens_events, movielens_items
from shared.testing.world import a_slice

if TYPE_CHECKING:
    from shared.data.nouns import Event, Item


@dataclass(frozen=True)
class Data:
    """A catalogue and its events."""

    items: tuple[Item, ...]
    events: tuple[Event, ...]

    @property
    def users(self) -> list[str]:
        """Ids of the users, sorted."""
        return sorted({event.user_id for event in self.events})


def movielens(*, small: bool) -> Data:
    """Returns MovieLens, or with `small` the slice of it that the tests use."""
    if not small:
        return Data(movielens_items(), movielens_events())
    events = a_slice()
    used = {event.item_id for event in events}
    return Data(tuple(item for item in movielens_items() if item.item_id in used), events)
