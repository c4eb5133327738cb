"""The deep fusion: what a killed training keeps, what TensorBoard gets, what its network says of itself."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from services.ranker.features.registry import FEATURES, INDEX, NAMES
from services.ranker.fusion.base import FitContext, ListVectors, RankingInput, RankingLists
from services.ranker.fusion.deep import DeepFusion, DeepParameters

LISTS, SIZE, DIM = 24, 15, 8
SMALL = DeepParameters(attention=4, rank=4, hidden=(8, 4), epochs=3, batch=8, patience=3)


@cache
def made(seed: int) -> RankingLists:
    """Lists in which only the vectors tell: liked is what is near to the liked items of the history."""
    random = np.random.default_rng(seed)
    rows = LISTS * SIZE
    features = random.normal(size=(rows, len(NAMES))).astype(np.float32)
    features[:, INDEX["has_cf"]] = 1
    features[:, INDEX["history_events"]] = np.repeat(np.log1p(random.integers(1, 200, LISTS)), SIZE)
    features[:, INDEX["popularity"]] = np.log1p(random.integers(0, 300, rows))
    bank = random.normal(size=(60, DIM)).astype(np.float32)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    items = random.integers(0, 60, rows).astype(np.int32)
    history = random.integers(0, 60, (LISTS, 5)).astype(np.int32)
    nearness = (bank[items].reshape(LISTS, SIZE, DIM) @ bank[history].mean(axis=1)[..., None])[..., 0]
    labels = (nearness >= np.sort(nearness, axis=1)[:, [-3]]).astype(np.float32).ravel()
    vectors = ListVectors(bank, items, history, np.ones((LISTS, 5), dtype=np.float32))
    clicks = (random.random(rows) < 0.2).astype(np.float32)
    outcomes = {"click": clicks, "rating": np.where(labels > 0, 4.5, np.nan).astype(np.float32)}
    return RankingLists(
        features, labels, np.full(LISTS, SIZE, dtype=np.int64), np.ones(LISTS, np.float32), vectors, outcomes
    )


class Killed(Exception):
    """Stands for the end of the process."""


class KillsAt:
    """Ends a training before it begins this epoch of this phase."""

    def __init__(self, stage: str, epoch: int) -> None:
        self._when = (stage, epoch)

    def update(self, stage, done, total):
        if (stage, done) == self._when and done < total:
            raise Killed


def fitted(**context) -> DeepFusion:
    fusion = DeepFusion(parameters=SMALL, context=FitContext(**context))
    fusion.fit(made(0), made(1), NAMES)
    return fusion


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[DeepFusion, object]:
    folder = tmp_path_factory.mktemp("board")
    return fitted(tensorboard=folder), folder


def test_a_killed_training_goes_on_to_the_same_model(whole, tmp_path):
    with pytest.raises(Killed):
        fitted(folder=tmp_path, progress=KillsAt("deep fit", 2))
    assert len(list(tmp_path.iterdir())) == 1
    told = []

    class Tells:
        def update(self, stage, done, total):  # noqa: ARG002 (the port's signature)
            told.append((stage, done))

    again = fitted(folder=tmp_path, progress=Tells())
    assert ("deep fit", 2) in told
    assert ("deep fit", 1) not in told
    assert list(tmp_path.iterdir()) == []
    for one in made(2).inputs():
        np.testing.assert_allclose(again.predict(one), whole[0].predict(one), rtol=1e-4, atol=1e-5)


def test_a_checkpoint_of_other_lists_is_not_taken(tmp_path):
    with pytest.raises(Killed):
        fitted(folder=tmp_path, progress=KillsAt("deep fit", 1))
    fusion = DeepFusion(parameters=SMALL, context=FitContext(folder=tmp_path, progress=KillsAt("deep fit", 0)))
    with pytest.raises(Killed):
        fusion.fit(made(3), made(1), NAMES)


def test_tensorboard_has_a_file_of_the_phase(whole):
    events = list((whole[1] / "fit").glob("events.out.tfevents*"))
    assert len(events) == 1
    content = events[0].read_bytes()
    for name in (b"rank", b"like", b"click", b"rating", b"ndcg@10"):
        assert name in content


def test_numpy_serves_what_tensorflow_trained(whole):
    from services.ranker.training.deep_fit import DeepTrainer

    network, lists = whole[0].network, made(0)
    base = np.zeros(len(lists.labels), dtype=np.float32)
    undropped = DeepParameters(**{**vars(SMALL), "dropout": 0.0})
    trainer = DeepTrainer(network, lists, base, undropped, FitContext())
    batch = trainer._batch(np.arange(8), SIZE).tensors()
    crossed, dense = (np.asarray(layer) for layer in trainer._layers(batch))
    scores = crossed @ network.weights["out_cross"] + dense @ network.weights["out_dense"]
    for turn, one in enumerate(list(lists.inputs())[:8]):
        np.testing.assert_allclose(network.predict(one), scores[turn], rtol=1e-4, atol=1e-5)


def test_attention_is_a_share_of_the_history_and_gates_are_of_groups(whole):
    network, one = whole[0].network, next(made(2).inputs())
    shares = network.attention(one)
    assert shares.shape == (SIZE, 5)
    assert shares.sum(axis=1) == pytest.approx(1)
    gates = network.gates(one.features)
    assert gates.shape == (SIZE, len({feature.group for feature in FEATURES}))
    assert ((gates > 0) & (gates < 2)).all()


def test_other_tasks_predict(whole):
    one = next(made(2).inputs())
    for head in ("like", "click"):
        chances = whole[0].network.head(head, one)
        assert ((chances > 0) & (chances < 1)).all()
    assert np.isfinite(whole[0].network.head("rating", one)).all()


def test_what_the_vectors_add_is_said_of_the_attention(whole):
    one = next(made(2).inputs())
    without = RankingInput.plain(one.features)
    moved = whole[0].network.predict(one) - whole[0].network.predict(without)
    assert np.abs(moved).max() > 0
    _, parts = whole[0].network.contributions(one)
    _, plain = whole[0].network.contributions(without)
    column = INDEX["lm_attention"]
    assert np.abs(parts[:, column] - plain[:, column]).max() > 0


def test_rows_of_shown_lists_teach_the_further_tasks_nothing():
    from services.ranker.training.deep_fit import DeepTrainer

    lists = made(0)
    shown = np.arange(len(lists.labels)) >= SIZE
    unsaid = np.full(len(lists.labels), np.nan, dtype=np.float32)
    first = DeepFusion(parameters=SMALL)._first_network(replace(lists, outcomes={}), NAMES)
    base = np.random.default_rng(6).normal(size=len(lists.labels)).astype(np.float32)

    def losses(labels, like):
        there = replace(lists, labels=labels.astype(np.float32), outcomes={"like": like})
        trainer = DeepTrainer(first, there, base, SMALL, FitContext())
        batch = trainer._batch(np.arange(8), SIZE).tensors()
        return {name: float(value) for name, value in trainer._losses(batch).items()}

    labels = lists.labels
    other = np.where(shown, 1 - labels, labels)
    told = [losses(one, np.where(shown, unsaid, labels)) for one in (labels, other)]
    assert told[0]["like"] == told[1]["like"] > 0
    assert told[0]["rank"] != told[1]["rank"]


def test_lists_without_what_a_head_learns_leave_the_head_as_it_was(whole):
    from services.ranker.training.deep_fit import DeepTrainer

    network = whole[0].network
    lists = replace(made(3), outcomes={"click": made(3).outcomes["click"]})
    trainer = DeepTrainer(network, lists, np.zeros(len(lists.labels), dtype=np.float32), SMALL, FitContext())
    losses = trainer.run_epoch()
    assert losses["rating"] == 0
    assert min(losses["rank"], losses["click"], losses["like"]) > 0
    weights = trainer.weights()
    np.testing.assert_array_equal(weights["head_rating"], network.weights["head_rating"])
    assert np.abs(weights["head_click"] - network.weights["head_click"]).max() > 0
