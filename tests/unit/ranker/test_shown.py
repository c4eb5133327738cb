"""Lists that were shown: what came of impressions, and the fold whose models may be asked about them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from services.ranker.training.leak import LeakFound, check_shown
from services.ranker.training.shown import VisibleLog, shown_lists, wanted_recommendations
from shared.data.folds import ListKind, training_folds, visible_events
from shared.data.nouns import Event, EventType
from shared.data.splits import Protocol, hidden_items

from .samples import RULES, START, rating

WEEK = timedelta(days=7)
DAYS = 20
USERS = [f"u{n}" for n in range(20)]


def positive(event):
    return RULES.signal(event) > 0


def at(day):
    return START + timedelta(days=day)


def impressions(recommendation, user, day, items, propensity=1.0):
    return [
        Event(
            f"{recommendation}.{place}",
            user,
            item,
            EventType.IMPRESSION,
            at(day),
            attribution_token=f"{recommendation}.{place}",
            position=place,
            propensity=propensity,
        )
        for place, item in enumerate(items, 1)
    ]


def took(recommendation, place, user, item, day, kind=EventType.CLICK, value=None):
    token = f"{recommendation}.{place}"
    return Event(f"{token}-{kind.name}", user, item, kind, at(day), value, attribution_token=token)


def log_of(events, protocol=None):
    counting = [event for event in events if RULES.counts(event)]
    visible = counting if protocol is None else visible_events(protocol, counting, positive)
    hidden = hidden_items(filter(positive, counting)) if protocol is Protocol.NEW_ITEMS else frozenset()
    return VisibleLog(visible, list(training_folds(visible, positive)), RULES, hidden)


def ratings(user="u0", days=DAYS):
    return [rating(user, f"{user}-{day}", 5, day) for day in range(days)]


@pytest.fixture(scope="module")
def others():
    """Users enough for some to be hidden in the cold fold."""
    return [event for user in USERS for event in ratings(user)]


@pytest.fixture(scope="module")
def cold_users(others):
    return log_of(others).folds[-1].hidden_users


@pytest.fixture(scope="module")
def known(cold_users):
    """A user whom the cold fold does not hide."""
    return next(user for user in USERS if user not in cold_users)


def one_list(events, shown, **options):
    made = shown_lists(shown, log_of(events, **options), WEEK)
    assert len(made) <= 1
    return made[0] if made else None


class TestJoining:
    def test_rows_are_what_was_shown_and_labels_what_was_taken(self, others, known):
        shown = impressions("r", known, 18.5, ["a", "b", "c"], 0.5)
        one = one_list([*others, took("r", 2, known, "b", 18.6)], shown)
        assert (one.recommendation_id, one.shown_at, one.explored) == ("r", at(18.5), True)
        assert dict(one.positions) == {"a": 1, "b": 2, "c": 3}
        assert (one.list.kind, one.list.relevant, one.list.pool) == (ListKind.SHOWN, {"b"}, {"a", "b", "c"})
        assert [event.timestamp for event in one.list.history] == [at(day) for day in range(19)]
        assert [event.type for event in one.list.later] == [EventType.CLICK]

    @pytest.mark.parametrize(
        "outcome",
        [
            took("r", 2, "somebody else", "b", 18.6),
            took("r", 1, "u", "b", 18.6),
            took("r", 2, "u", "b", 26),
            took("r", 2, "u", "b", 18.4),
            took("r", 2, "u", "b", 18.6, EventType.DISLIKE),
            took("r", 2, "u", "b", 18.6, EventType.RATING, 2.0),
            took("q", 2, "u", "b", 18.6),
        ],
        ids=["another user", "another row", "after the window", "before", "disliked", "rated low", "another list"],
    )
    def test_what_is_no_outcome_takes_nothing(self, others, known, outcome):
        outcome = replace(outcome, user_id=known) if outcome.user_id == "u" else outcome
        shown = impressions("r", known, 18.5, ["a", "b", "c"])
        assert one_list([*others, outcome], shown) is None

    def test_a_clock_that_is_a_little_behind_does_no_harm(self, others, known):
        click = took("r", 2, known, "b", 18.5 - 1 / 1440)
        one = one_list([*others, click], impressions("r", known, 18.5, ["a", "b", "c"]))
        assert one.list.relevant == {"b"}
        assert click not in one.list.history

    def test_the_newest_judgement_counts(self, others, known):
        events = [took("r", 1, known, "a", 18.6), took("r", 1, known, "a", 18.7, EventType.DISLIKE)]
        shown = impressions("r", known, 18.5, ["a", "b", "c"])
        assert one_list([*others, *events], shown) is None
        assert one_list([*others, *events, took("r", 2, known, "b", 18.6)], shown).list.relevant == {"b"}

    def test_what_the_user_knew_or_came_to_by_another_way_says_nothing(self, others, known):
        events = [
            rating(known, "known", 5, 3),
            rating(known, "later", 5, 19),
            took("q", 1, known, "by-q", 19),
            took("r", 3, known, "b", 18.6),
        ]
        shown = impressions("r", known, 18.5, ["known", "later", "b", "by-q", "c"])
        assert dict(one_list([*others, *events], shown).positions) == {"b": 3, "c": 5}

    @pytest.mark.parametrize("kind", [EventType.PURCHASE, EventType.DISLIKE])
    def test_what_was_taken_stays_when_it_led_to_more_without_a_token(self, others, known, kind):
        shown = impressions("r", known, 18.5, ["a", "b", "c"])
        more = Event("more", known, "b", kind, at(18.8))
        one = one_list([*others, took("r", 2, known, "b", 18.6), more], shown)
        assert (one.list.relevant, set(one.positions)) == ({"b"}, {"a", "b", "c"})
        # Of those that were not taken, it says that they were come to by another way.
        one = one_list([*others, took("r", 1, known, "a", 18.6), more], shown)
        assert (one.list.relevant, set(one.positions)) == ({"a"}, {"a", "c"})

    def test_what_was_taken_is_no_row_when_the_user_knew_it_before(self, others, known):
        shown = impressions("r", known, 18.5, ["a", "b", "c"])
        events = [took("r", 2, known, "b", 18.6), took("r", 1, known, "a", 18.6)]
        one = one_list([*others, *events, Event("before", known, "b", EventType.VIEW, at(18.4))], shown)
        assert (one.list.relevant, set(one.positions)) == ({"a"}, {"a", "c"})

    def test_impressions_of_others_or_without_a_place_change_nothing(self, others, known):
        shown = impressions("r", known, 18.5, ["a", "b", "c"])
        echoes = [replace(one, event_id=f"echo-{one.event_id}", position=0) for one in shown]
        strays = [replace(shown[0], event_id="x", user_id="u1"), replace(shown[1], event_id="y", position=101)]
        early = [replace(one, timestamp=at(1)) for one in (*echoes, *strays)]
        log = log_of([*others, took("r", 2, known, "b", 18.6)])
        alone = shown_lists(shown, log, WEEK)
        assert [dict(one.positions) for one in alone] == [{"a": 1, "b": 2, "c": 3}]
        assert shown_lists([*early, *shown, *echoes, *strays], log, WEEK) == alone


class TestFolds:
    # Of 21 events, the outcome with them, the folds train on 19, 16, 14 and 11.
    @pytest.mark.parametrize(
        ("day", "fold"),
        [(19.5, "warm-0"), (18.5, "warm-0"), (17.5, "warm-1"), (15.5, "warm-1"), (13.5, "warm-2"), (10.5, "warm-3")],
    )
    def test_the_latest_cut_before_it_was_shown_is_taken(self, others, known, day, fold):
        shown = impressions("r", known, day, ["a", "b"])
        assert one_list([*others, took("r", 1, known, "a", day + 0.1)], shown).fold == fold

    def test_where_every_model_has_seen_what_came_later_there_is_no_list(self, others, known):
        shown = impressions("r", known, 9.5, ["a", "b"])
        assert one_list([*others, took("r", 1, known, "a", 9.6)], shown) is None

    def test_users_whom_the_cold_fold_hides_have_lists_from_their_first_day_on(self, others, cold_users):
        user = min(cold_users)
        one = one_list([*others, took("r", 1, user, "a", 2.6)], impressions("r", user, 2.5, ["a", "b"]))
        assert one.fold == "cold"
        hidden = log_of(others).folds[-1].hidden_items
        assert {event.item_id for event in one.list.history} == {f"{user}-{day}" for day in range(3)} - hidden

    def test_an_outcome_in_what_is_hidden_is_not_learned_from(self, others, known):
        # The test part of the protocol begins after 17 of 21 events.
        for day, place, made in ((15.5, 1, True), (17.5, 1, False)):
            outcome = took("r", place, known, "a", day + 0.1)
            shown = impressions("r", known, day, ["a", "b"])
            assert (one_list([*others, outcome], shown, protocol=Protocol.WARM) is not None) == made

    def test_what_is_hidden_chooses_no_rows(self, others, known):
        # Of known's 25 events 20 are visible, to day 18.6: all that follows is the test part.
        shown = impressions("r", known, 18.5, ["a", "b", "c", "d"])
        seen = took("r", 1, known, "a", 18.6)
        hidden = [
            took("r", 2, known, "b", 19.1),
            rating(known, "c", 5, 20),
            rating(known, "e", 5, 21),
            rating(known, "f", 5, 22),
        ]
        # What nobody knows but in a test part is a row all the same.
        somebody = next(user for user in USERS if user != known)
        hidden_of_others = rating(somebody, "d", 5, 30)
        one = one_list([*others, seen, *hidden, hidden_of_others], shown, protocol=Protocol.WARM)
        assert (one.list.relevant, set(one.positions)) == ({"a"}, {"a", "b", "c", "d"})
        # The same as if the test part were about other things.
        for event in (*hidden, hidden_of_others):
            assert event not in log_of([*others, seen, *hidden, hidden_of_others], Protocol.WARM).visible
        elsewhere = [
            replace(event, item_id=f"else-{n}", attribution_token="")
            for n, event in enumerate((*hidden, hidden_of_others))
        ]
        assert one_list([*others, seen, *elsewhere], shown, protocol=Protocol.WARM) == one

    def test_hidden_items_are_no_rows_and_hidden_users_have_no_lists(self):
        events = [rating(user, f"i{n}", 5, n) for user in USERS for n in range(30)]
        log = log_of(events, Protocol.NEW_ITEMS)
        hidden = {event.item_id for event in events} - {event.item_id for event in log.visible}
        assert len(hidden) > 1
        # One hidden item the user does not know; the others they do.
        user, unknown = USERS[0], min(hidden)
        events = [event for event in events if (event.user_id, event.item_id) != (user, unknown)]
        made = one_list(
            [*events, took("r", 1, user, "a", 29.6)],
            impressions("r", user, 29.5, ["a", "b", unknown]),
            protocol=Protocol.NEW_ITEMS,
        )
        assert set(made.positions) == {"a", "b"}
        assert {event.item_id for event in made.list.history} == {event.item_id for event in events} - hidden
        visitors = {event.user_id for event in log_of(events, Protocol.NEW_USERS).visible}
        stranger = next(user for user in USERS if user not in visitors)
        shown = impressions("r", stranger, 29.5, ["a", "b"])
        assert one_list([*events, took("r", 1, stranger, "a", 29.6)], shown, protocol=Protocol.NEW_USERS) is None


@pytest.fixture(scope="module")
def made(others):
    clicks, shown = [], []
    for user in USERS:
        for day in range(1, DAYS):
            recommendation = f"{user}-r{day}"
            shown += impressions(recommendation, user, day - 0.5, [f"{recommendation}-{n}" for n in range(4)])
            clicks.append(took(recommendation, 2, user, f"{recommendation}-1", day - 0.4))
    log = log_of([*others, *clicks])
    return log, shown, shown_lists(shown, log, WEEK)


class TestNoLeak:
    def test_no_fold_has_seen_anything_of_the_user_from_then_on(self, made):
        log, _, lists = made
        assert {one.fold for one in lists} == {"warm-0", "warm-1", "warm-2", "warm-3", "cold"}
        trained = {fold.name: fold.training for fold in log.folds}
        for one in lists:
            seen = [event for event in trained[one.fold] if event.user_id == one.list.user_id]
            assert all(event.timestamp < one.shown_at for event in seen)
            assert all(event.timestamp < one.shown_at for event in one.list.history)
            assert not {event.item_id for event in seen} & one.list.relevant
        check_shown(log.folds, lists)

    def test_only_lists_that_a_fold_may_be_asked_about_are_looked_for_the_newest_first(self, made):
        log, _, lists = made
        wanted = wanted_recommendations(log, 10_000)
        assert wanted == {one.recommendation_id: one.list.user_id for one in lists}
        newest = wanted_recommendations(log, 5)
        days = sorted(one.shown_at for one in lists)[-5:]
        assert sorted(one.shown_at for one in lists if one.recommendation_id in newest) == days
        assert wanted_recommendations(log, 10_000, {"u3"}).keys() == {
            one.recommendation_id for one in lists if one.list.user_id == "u3"
        }

    def test_a_list_is_looked_for_of_whom_took_of_it_first(self, others, known):
        friend = next(user for user in USERS if user != known)
        events = [took("r", 1, known, "a", 18.6), took("r", 1, friend, "a", 18.7)]
        assert wanted_recommendations(log_of([*others, *events]), 1) == {"r": known}

    def test_a_list_asked_of_models_that_have_seen_more_is_found(self, made):
        log, _, lists = made
        late = next(one for one in lists if one.fold == "warm-2")
        with pytest.raises(LeakFound, match=rf"warm-0: the training goes on after .* {late.list.user_id!r}"):
            check_shown(log.folds, [*lists, replace(late, fold="warm-0")])

    def test_an_outcome_planted_into_the_training_is_found_whatever_its_time(self, made):
        log, _, lists = made
        one = lists[-1]
        for outcome in (one.list.later[0], replace(one.list.later[0], timestamp=START)):
            folds = [
                replace(fold, training=(*fold.training, outcome)) if fold.name == one.fold else fold
                for fold in log.folds
            ]
            with pytest.raises(LeakFound, match="goes on after the moment that a list was shown"):
                check_shown(folds, lists)
        untold = replace(one.list.later[0], timestamp=START, attribution_token="")
        folds = [replace(fold, training=(*fold.training, untold)) for fold in log.folds]
        with pytest.raises(LeakFound, match="what was taken of a shown list is in the training"):
            check_shown(folds, lists)

    def test_what_came_later_planted_into_a_history_is_found(self, made):
        log, _, lists = made
        one = lists[0]
        planted = replace(one, list=replace(one.list, history=(*one.list.history, one.list.later[0])))
        with pytest.raises(LeakFound, match="the history goes on after"):
            check_shown(log.folds, [planted])
