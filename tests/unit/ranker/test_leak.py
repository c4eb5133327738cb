"""The leak check: whatever lets models see their labels ends the training."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.ranker.fusion.base import FitContext
from services.ranker.settings import RankerSettings
from services.ranker.training import job
from services.ranker.training.leak import LeakFound, check_no_leak
from shared.data.folds import ListKind, training_folds
from shared.testing.movielens import movielens_events

from .samples import RULES


@pytest.fixture(scope="module")
def folds():
    events = [event for event in movielens_events() if int(event.user_id) <= 40]
    return list(training_folds(events, lambda event: RULES.signal(event) > 0))


def planted(fold, place, **changes):
    lists = list(fold.lists)
    lists[place] = replace(lists[place], **changes)
    return replace(fold, lists=tuple(lists))


def of_kind(fold, kind):
    return next(place for place, one in enumerate(fold.lists) if one.kind is kind)


def labels(one):
    return [event for event in one.later if event.item_id in one.relevant]


def test_the_folds_that_are_trained_on_have_no_leak(folds):
    assert {one.name for one in folds} == {"warm-0", "warm-1", "warm-2", "warm-3", "cold"}
    assert {one.kind for fold in folds for one in fold.lists} == set(ListKind) - {ListKind.SHOWN}
    check_no_leak(folds)


def test_a_label_planted_into_the_training_is_found(folds):
    fold = folds[0]
    future = labels(fold.lists[3])[0]
    leaking = replace(fold, training=(*fold.training, future))
    with pytest.raises(LeakFound, match=rf"warm-0.*{future.user_id}.*{future.item_id}.*nothing was published"):
        check_no_leak([leaking])


def test_a_label_planted_into_a_history_is_found(folds):
    one = folds[1].lists[0]
    with pytest.raises(LeakFound, match="in the list's history"):
        check_no_leak([planted(folds[1], 0, history=(*one.history, labels(one)[0]))])


def test_a_history_that_goes_on_after_the_labels_is_found(folds):
    one = folds[2].lists[0]
    late = max(one.later, key=lambda event: event.timestamp)
    after = replace(late, item_id="something-else", timestamp=late.timestamp.replace(year=late.timestamp.year + 1))
    with pytest.raises(LeakFound, match="goes on after"):
        check_no_leak([planted(folds[2], 0, history=(*one.history, after))])


@pytest.mark.parametrize("kind", [ListKind.COLD_USER, ListKind.NEW_ITEMS])
def test_an_event_of_what_is_hidden_is_found(folds, kind):
    cold = folds[-1]
    hidden = labels(cold.lists[of_kind(cold, kind)])[0]
    with pytest.raises(LeakFound, match="is hidden"):
        check_no_leak([replace(cold, training=(*cold.training, hidden))])


async def test_a_training_with_planted_labels_ends_before_anything_is_asked(folds, monkeypatch):
    fold = folds[0]
    leaking = replace(fold, training=(*fold.training, labels(fold.lists[3])[0]))
    monkeypatch.setattr(job, "training_folds", lambda _visible, _is_positive: iter([leaking]))
    training = job.TrainingJob(RankerSettings(), None, None, None, None, FitContext())
    with pytest.raises(LeakFound, match="the label is among the events of the training"):
        await training._lists(None, None, (), None, None)
