"""What a fine-tuning may see, and how its batches are drawn."""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.embedding.training.batches import BatchSampler
from services.embedding.training.corpus import Likes, NothingToLearn, make_corpus
from services.embedding.training.masking import MaskSampler
from services.embedding.training.parameters import FinetuneParameters, Objective
from services.embedding.training.schedule import rate_at
from services.embedding.training.validation import Judge
from services.embedding.training.verdict import compare
from shared.data.log import LogSnapshot
from shared.data.nouns import Event, EventType
from shared.data.preferences import PreferenceRules
from shared.data.splits import Protocol, Stage, hidden_items

_spec = importlib.util.spec_from_file_location("training_samples", Path(__file__).with_name("training_samples.py"))
samples = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(samples)

RULES = PreferenceRules()
SMALL = FinetuneParameters(batch=16, history=4)


@pytest.fixture(scope="module")
def snapshot():
    return samples.two_tastes()


@pytest.fixture(scope="module")
def corpus(snapshot):
    return make_corpus(snapshot, RULES, Protocol.WARM, Stage.SERVING, SMALL)


def test_hidden_items_of_the_protocol_keep_their_text_and_lose_their_likes(snapshot):
    hidden = hidden_items(event for event in snapshot.events if RULES.signal(event) > 0)
    corpus = make_corpus(snapshot, RULES, Protocol.NEW_ITEMS, Stage.TEST, SMALL)
    ids = np.array([item.item_id for item in corpus.items])
    assert hidden
    assert hidden <= set(ids)
    assert not hidden & set(ids[corpus.likes.items])
    drawn = [BatchSampler(corpus.train, len(ids), SMALL).batch(step) for step in range(50)]
    seen = {row for batch in drawn for row in (*batch.targets, *batch.anchors.ravel()) if row >= 0}
    assert not hidden & set(ids[sorted(seen)])


def test_no_answer_depends_on_a_hidden_items_events(snapshot):
    hidden = hidden_items(event for event in snapshot.events if RULES.signal(event) > 0)
    without = replace(snapshot, events=[event for event in snapshot.events if event.item_id not in hidden])
    one, other = (
        make_corpus(snapshot, RULES, Protocol.NEW_ITEMS, Stage.TEST, SMALL),
        make_corpus(without, RULES, Protocol.WARM, Stage.SERVING, SMALL),
    )
    assert np.array_equal(one.likes.items, other.likes.items)
    assert np.array_equal(one.train.starts, other.train.starts)


def test_warm_stage_test_sees_no_later_event(snapshot):
    test = make_corpus(snapshot, RULES, Protocol.WARM, Stage.TEST, SMALL)
    serving = make_corpus(snapshot, RULES, Protocol.WARM, Stage.SERVING, SMALL)
    for user in range(len(test.likes.starts) - 1):
        own, every = test.likes.of(user), serving.likes.of(user)
        assert len(own) < len(every)
        assert np.array_equal(own, every[: len(own)])


def test_the_validation_fold_is_not_trained_on(corpus):
    assert len(corpus.hidden) > 0
    assert not np.isin(corpus.train.items, corpus.hidden).any()
    assert np.isin(corpus.likes.items, corpus.hidden).any()


def test_the_last_judgement_decides(snapshot):
    last = max(snapshot.events, key=lambda event: event.timestamp)
    regret = Event("regret", last.user_id, last.item_id, EventType.DISLIKE, last.timestamp.replace(year=2030))
    both = replace(snapshot, events=[*snapshot.events, regret])
    before, after = (make_corpus(one, RULES, Protocol.WARM, Stage.SERVING, SMALL) for one in (snapshot, both))
    assert len(after.likes.items) == len(before.likes.items) - 1


def test_bounds_keep_the_newest_likes_and_the_most_liked_items(snapshot):
    bounded = replace(SMALL, max_likes=100, max_items=20)
    corpus = make_corpus(snapshot, RULES, Protocol.WARM, Stage.SERVING, bounded)
    assert len(corpus.items) == 20
    assert len(corpus.likes.items) <= 100


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (LogSnapshot([], {}), "no items in the catalogue"),
        (replace(samples.two_tastes(), events=[]), "no events to learn from"),
        (samples.two_tastes(users=1, likes=3), "at least 10 are needed"),
        (samples.two_tastes(users=30, likes=1), "who likes two of them"),
    ],
)
def test_nothing_to_learn_is_said_clearly(made, said):
    with pytest.raises(NothingToLearn, match=said):
        make_corpus(made, RULES, Protocol.WARM, Stage.SERVING, SMALL)


def test_items_without_a_text_are_nothing_to_read(snapshot):
    mute = {key: replace(item, title="", categories=()) for key, item in snapshot.items.items()}
    with pytest.raises(NothingToLearn, match="no item has a title or a text"):
        make_corpus(replace(snapshot, items=mute), RULES, Protocol.WARM, Stage.SERVING, SMALL)


@pytest.mark.parametrize("objective", list(Objective))
def test_a_batch_brings_together_what_a_user_likes(corpus, objective):
    sampler = BatchSampler(corpus.train, len(corpus.items), replace(SMALL, objective=objective))
    liked_by = [set(corpus.train.of(user).tolist()) for user in range(len(corpus.train.starts) - 1)]
    for step in range(20):
        batch = sampler.batch(step)
        assert batch.anchors.shape == (16, 1 if objective is Objective.PAIRS else 4)
        for row, target in enumerate(batch.targets.tolist()):
            anchors = set(batch.anchors[row].tolist()) - {-1}
            assert anchors
            assert target not in anchors
            owners = [own for own in liked_by if target in own and anchors <= own]
            assert owners
            # A negative is an item that one of those who may stand behind the row does not like.
            for column in np.flatnonzero(batch.negatives[row]).tolist():
                assert batch.targets[column] != target
                assert any(batch.targets[column] not in own for own in owners)


def test_the_batch_of_a_step_depends_on_seed_and_step_alone(corpus):
    one, other = (BatchSampler(corpus.train, len(corpus.items), SMALL) for _ in range(2))
    for _ in range(3):
        one.batch(1)
    assert np.array_equal(one.batch(7).targets, other.batch(7).targets)
    assert np.array_equal(one.batch(7).anchors, other.batch(7).anchors)
    assert not np.array_equal(one.batch(7).targets, one.batch(8).targets)
    elsewhere = BatchSampler(corpus.train, len(corpus.items), replace(SMALL, seed=8))
    assert not np.array_equal(one.batch(7).targets, elsewhere.batch(7).targets)


def test_debias_draws_by_the_formula():
    # Item 0 is liked by all of 50 users, items 1 to 50 by one each.
    items = np.array([item for user in range(50) for item in (0, user + 1)])
    likes = Likes(items, np.arange(51) * 2)
    for debias, expected in ((0.0, 0.5), (0.5, 50**0.5 / (50**0.5 + 50)), (1.0, 1 / 51)):
        parameters = FinetuneParameters(batch=1000, debias=debias, user_debias=0.0)
        sampler = BatchSampler(likes, 51, parameters)
        batches = [sampler.batch(step) for step in range(10)]
        share = np.mean([(batch.targets == 0).mean() for batch in batches])
        assert share == pytest.approx(expected, abs=0.02)
        popular = next(batch.log_q[batch.targets == 0][0] for batch in batches if (batch.targets == 0).any())
        assert np.exp(popular) == pytest.approx(expected, rel=1e-5)


def test_the_judge_prefers_vectors_that_know_the_tastes(corpus):
    judge = Judge(corpus)
    knowing = np.zeros((len(corpus.items), 8), np.float32)
    knowing[np.arange(len(corpus.items)), [int(item.item_id) % 2 for item in corpus.items]] = 1
    blind = np.ones((len(corpus.items), 8), np.float32)
    assert judge.users > 10
    assert judge.score(knowing) > judge.score(blind) + 0.1


def test_the_judge_looks_at_needed_rows_alone(corpus):
    judge = Judge(corpus)
    vectors = np.random.default_rng(0).standard_normal((len(corpus.items), 8)).astype(np.float32)
    changed = np.full_like(vectors, 9.0)
    changed[judge.needed] = vectors[judge.needed]
    assert judge.score(changed) == judge.score(vectors)
    assert judge.verdict(changed, vectors, 7).gain_lower == 0


def test_what_stops_a_training_and_what_decides_are_other_items(corpus):
    judge = Judge(corpus)
    vectors = np.random.default_rng(0).standard_normal((len(corpus.items), 8)).astype(np.float32)
    other = vectors.copy()
    other[corpus.hidden[::2]] = 0
    assert judge.score(other) != judge.score(vectors)
    assert judge.verdict(other, vectors, 7).trained == judge.verdict(vectors, vectors, 7).trained


def test_chance_passes_the_gate_no_more_often_than_said():
    random = np.random.default_rng(3)
    passed = [compare(*random.random((2, 60)), seed=trial).better for trial in range(60)]
    assert np.mean(passed) < 0.25
    base = random.random(60)
    assert compare(base + random.normal(0.1, 0.1, 60), base, 7).better
    assert compare(base + 0.1, base, 7) == compare(base + 0.1, base, 7)
    few = base[:5]
    assert not compare(few + 0.1, few, 7).better


def test_the_rate_rises_then_falls_to_nothing():
    rates = [rate_at(step, 100, 1e-3, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == pytest.approx(1e-3)
    assert int(np.argmax(rates)) in (9, 10)
    assert all(low >= high for low, high in itertools.pairwise(rates[10:]))
    assert 0 <= rates[-1] < 1e-6
    assert rate_at(0, 1, 1e-3, 0.0) == 1e-3


def test_masks_hide_a_share_and_can_be_undone():
    texts = [(1, *range(10, 10 + length), 2) for length in range(1, 41)]
    sampler = MaskSampler(texts, mask_id=3, special=(0, 1, 2, 3), vocabulary=100, share=0.15, batch=8, seed=5)
    kinds = {"mask": 0, "same": 0, "random": 0}
    seen = set()
    for step in range(sampler.steps_per_epoch * 20):
        batch = sampler.batch(step)
        whole = [list(row) for row in batch.rows]
        for (row, place), label in zip(batch.places.tolist(), batch.labels.tolist(), strict=True):
            shown = whole[row][place]
            kinds["mask" if shown == 3 else "same" if shown == label else "random"] += 1
            whole[row][place] = label
        assert all(tuple(row) in set(texts) for row in whole)
        if step < sampler.steps_per_epoch:
            seen |= {tuple(row) for row in whole}
        for row in range(len(whole)):
            assert (batch.places[:, 0] == row).sum() == max(1, round(0.15 * (len(whole[row]) - 2)))
    assert seen == set(texts)
    total = sum(kinds.values())
    assert kinds["mask"] / total == pytest.approx(0.8, abs=0.05)
    assert kinds["random"] / total == pytest.approx(0.1, abs=0.04)
    assert np.array_equal(sampler.batch(4).labels, sampler.batch(4).labels)
