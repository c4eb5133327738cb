"""The folds that the candidates and the ranker train on: no list's answer is in its models' training."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from shared.data.folds import ListKind, training_folds, visible_events
from shared.data.nouns import Event, EventType
from shared.data.splits import Protocol, by_user, hidden_items, hidden_users, per_user_chronological

START = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def events():
    rng = random.Random(1)  # noqa: S311 (test data)
    made = []
    for user in range(60):
        for step, item in enumerate(rng.sample(range(80), rng.randint(2, 40))):
            rating = float(rng.randint(1, 5))
            made.append(
                Event(f"{user}-{step}", f"u{user}", f"i{item}", EventType.RATING, START + timedelta(days=step), rating)
            )
    rng.shuffle(made)
    return made


def liked(event):
    return event.value >= 4


def key(event):
    return event.event_id


@pytest.mark.parametrize("protocol", list(Protocol))
def test_no_answer_is_in_the_training_of_its_fold(events, protocol):
    folds = list(training_folds(visible_events(protocol, events, liked), liked))
    assert [fold.name for fold in folds] == ["warm-0", "warm-1", "warm-2", "warm-3", "cold"]
    for fold in folds:
        seen = {(event.user_id, event.item_id) for event in fold.training}
        assert fold.lists
        for one in fold.lists:
            assert one.relevant
            assert not {(one.user_id, item) for item in one.relevant} & seen
            assert not one.relevant & {event.item_id for event in one.history}
            assert all(event.user_id == one.user_id for event in one.history)


@pytest.mark.parametrize("protocol", list(Protocol))
def test_what_a_protocol_hides_is_in_no_fold(events, protocol):
    visible = visible_events(protocol, events, liked)
    by_key = {key(event) for event in visible}
    if protocol is Protocol.WARM:
        tests = [event for split in per_user_chronological(by_user(events)).values() for event in split.test]
        assert by_key == {key(event) for event in events} - {key(event) for event in tests}
    elif protocol is Protocol.NEW_ITEMS:
        hidden = hidden_items(event for event in events if liked(event))
        assert by_key == {key(event) for event in events if event.item_id not in hidden}
    else:
        hidden = hidden_users(events)
        assert by_key == {key(event) for event in events if event.user_id not in hidden}
    for fold in training_folds(visible, liked):
        used = {key(event) for event in fold.training} | {key(e) for one in fold.lists for e in one.history}
        assert used <= by_key


def test_the_first_warm_fold_is_the_seven_tenths_of_the_warm_protocol(events):
    fold = next(iter(training_folds(visible_events(Protocol.WARM, events, liked), liked)))
    for user, own in by_user(events).items():
        trained = sum(event.user_id == user for event in fold.training)
        assert 0.7 * len(own) <= trained + 1e-9
        assert trained <= 0.7 * len(own) + 2


def test_the_cold_fold_hides_users_and_items(events):
    *_, fold = training_folds(visible_events(Protocol.WARM, events, liked), liked)
    assert len(fold.hidden_users) == 18
    assert fold.hidden_items
    assert not {event.item_id for event in fold.training} & fold.hidden_items
    assert not {event.user_id for event in fold.training} & fold.hidden_users
    kinds = {one.kind for one in fold.lists}
    assert kinds == {ListKind.COLD_USER, ListKind.NEW_ITEMS}
    for one in fold.lists:
        if one.kind is ListKind.COLD_USER:
            assert one.user_id in fold.hidden_users
            assert len(one.history) in {1, 3, 5, 10}
            assert not one.relevant & fold.hidden_items
        else:
            assert one.pool == fold.hidden_items
            assert one.relevant <= fold.hidden_items


def test_folds_do_not_depend_on_the_order_of_the_log(events):
    def summary(given):
        return [
            (
                fold.name,
                sorted(map(key, fold.training)),
                sorted((one.user_id, sorted(one.relevant)) for one in fold.lists),
            )
            for fold in training_folds(visible_events(Protocol.WARM, given, liked), liked)
        ]

    assert summary(events) == summary(list(reversed(events)))
