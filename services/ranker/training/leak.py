"""The leak check: a training whose models could have seen its labels ends with an error, not with a good figure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from services.ranker.training.shown import comes_before
from shared.errors import FusionrecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.ranker.training.shown import ShownList
    from shared.data.folds import Fold, TrainingList
    from shared.data.nouns import Event


class LeakFound(FusionrecError):
    """What is to be learned was known before: the figures would be worth nothing."""


def check_no_leak(folds: Iterable[Fold]) -> None:
    """Checks that nothing which a fold's models and counts are made of tells its labels.

    For every list: no label among the events that the fold trains on, nor in the history; the history ends before the
    labels' events begin; hidden users and items have no event in the training.

    Raises:
        LeakFound: the message names fold, user and item.

    """
    for fold in folds:
        trained = {(event.user_id, event.item_id) for event in fold.training}
        for event in fold.training:
            if event.user_id in fold.hidden_users:
                raise _found(fold, event.user_id, event.item_id, "the user is hidden, and has an event in the training")
            if event.item_id in fold.hidden_items:
                raise _found(fold, event.user_id, event.item_id, "the item is hidden, and has an event in the training")
        for one in fold.lists:
            _check_list(fold, one, trained)


def check_shown(folds: Iterable[Fold], lists: Sequence[ShownList]) -> None:
    """Checks that the models of a shown list's fold know nothing of its user from the moment on that it was shown.

    For every list: no event of the user among the fold's training that is not from before, or that came of the list;
    the same for the history; no label in either.

    Raises:
        LeakFound: the message names fold, user and item.

    """
    by_name = {fold.name: fold for fold in folds}
    users = {one.list.user_id for one in lists}
    trained: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for fold in by_name.values():
        for event in fold.training:
            if event.user_id in users:
                trained[fold.name, event.user_id].append(event)
    for one in lists:
        fold, user_id, relevant = by_name[one.fold], one.list.user_id, one.list.relevant
        for where, events in (("training", trained[one.fold, user_id]), ("history", one.list.history)):
            for event in events:
                if not comes_before(event, one.shown_at, one.recommendation_id):
                    what = f"the {where} goes on after the moment that a list was shown"
                    raise _found(fold, user_id, event.item_id, what)
                if event.item_id in relevant:
                    raise _found(fold, user_id, event.item_id, f"what was taken of a shown list is in the {where}")


def _check_list(fold: Fold, one: TrainingList, trained: set[tuple[str, str]]) -> None:
    known = {event.item_id for event in one.history}
    for item_id in sorted(one.relevant):
        if (one.user_id, item_id) in trained:
            raise _found(fold, one.user_id, item_id, "the label is among the events of the training")
        if item_id in known:
            raise _found(fold, one.user_id, item_id, "the label is in the list's history")
    labelled = [event for event in one.later if event.item_id in one.relevant]
    # Hidden items are what a user liked at any time: there, what is hidden is the item and not the future.
    if one.pool is None and one.history and labelled:
        ends = max(event.timestamp for event in one.history)
        early = min(labelled, key=lambda event: event.timestamp)
        if early.timestamp < ends:
            raise _found(fold, one.user_id, early.item_id, "the history goes on after the label's event")


def _found(fold: Fold, user_id: str, item_id: str, what: str) -> LeakFound:
    return LeakFound(
        f"leak in fold {fold.name}: {what} (user {user_id[:64]!r}, item {item_id[:64]!r}); nothing was published",
        metadata={"fold": fold.name},
    )
