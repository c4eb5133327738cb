"""The two towers: what is trained on, what is learned, and that serving computes what training did."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.index.allowed import Allowed
from services.candidates.index.parameters import IndexParameters
from services.candidates.profile import Profile
from services.candidates.sources import two_tower
from services.candidates.sources.aligned_text import ItemTexts
from services.candidates.sources.hyperparameters import Hyperparameters, TwoTowerParameters
from services.candidates.sources.kind import TrainingData
from services.candidates.sources.own_vectors import filled, to_build
from services.candidates.sources.two_tower import EXTRA, KIND, TrainingPackageMissing, TwoTowerSource
from services.candidates.sources.two_tower_layers import ItemFeatures, like_weights
from services.candidates.training.likes import Likes
from services.candidates.training.two_tower_examples import Judged, Sequences, hold_out
from shared.data.nouns import Item

trains = pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is needed for training only")

ROOT = Path(__file__).parents[3]
GROUPS, PER_GROUP, NEW, DIM = 3, 30, 6, 8
"""Items belong to a group of taste each, by turns; nobody likes the last six."""
N_ITEMS = GROUPS * PER_GROUP
SMALL = TwoTowerParameters(
    dim=DIM, hidden=8, text_components=4, history=10, half_life=3.0, window=6, batch=200, epochs=10
)


def likes_of_lists(lists, n_items=N_ITEMS, strengths=None):
    sequence = np.array([row for own in lists for row in own], np.int64)
    values = np.ones(len(sequence), np.float32) if strengths is None else strengths
    users = np.repeat(np.arange(len(lists)), [len(own) for own in lists])
    matrix = sp.csr_matrix((values, (users, sequence)), shape=(len(lists), n_items), dtype=np.float32)
    matrix.sort_indices()
    events = np.bincount(sequence, minlength=n_items).astype(np.int64)
    names = tuple(f"u{user}" for user in range(len(lists)))
    return Likes(matrix=matrix, events=events, users=names, sequence=sequence, times=np.arange(len(sequence)) * 1.0)


def group_vectors(rng):
    """Text vectors that say the group, and much else."""
    vectors = rng.standard_normal((N_ITEMS, 12)).astype(np.float32)
    vectors[np.arange(N_ITEMS), np.arange(N_ITEMS) % GROUPS] += 4
    return vectors


def training_data(seed=1, parameters=SMALL):
    rng = np.random.default_rng(0)
    texts = group_vectors(rng)
    lists = []
    for user in range(60):
        own = np.arange(user % GROUPS, N_ITEMS - NEW, GROUPS)
        lists.append(rng.choice(own, 12, replace=False).tolist())
    items = [Item(f"i{row}", f"title {row}") for row in range(N_ITEMS)]
    hyperparameters = Hyperparameters(two_tower=parameters, seed=seed)
    return TrainingData(items, ItemTexts(texts, texts), likes_of_lists(lists), hyperparameters)


@pytest.fixture(scope="module")
def model():
    return KIND.fit(training_data(), {})


@pytest.fixture(params=["flat", "ivf"])
def source(request, model):
    if request.param == "flat":
        return TwoTowerSource(model, filled(FlatIndex, model.vectors))
    # Every cluster is looked into: what is found is exact.
    indexes = FaissIndexes(IndexParameters(type="ivf", exact_rows=0, nprobe=N_ITEMS, threads=1))
    return TwoTowerSource(model, indexes.build(to_build(model.vectors)))


def profile(rows):
    return Profile(np.array(rows, np.int64), np.ones(len(rows), np.float32))


class TestExamples:
    def test_strengths_are_brought_into_the_order_of_time(self):
        lists = [[5, 2, 9], [], [1, 0]]
        own = Sequences.of(likes_of_lists(lists, 10, np.array([0.5, 0.2, 0.9, 0.1, 3.0], np.float32)))
        assert own.rows.tolist() == [5, 2, 9, 1, 0]
        np.testing.assert_allclose(own.strengths, [0.5, 0.2, 0.9, 0.1, 3.0])
        assert own.lengths.tolist() == [3, 0, 2]

    def test_an_epoch_has_every_like_once(self):
        lists = [list(range(size)) for size in (1, 0, 7, 30, 4, 64)]
        own = Sequences.of(likes_of_lists(lists, 64))
        for seed in range(5):
            seen = np.zeros(len(own.rows), int)
            for first, low, high in own.batches(4, 20, np.random.default_rng(seed)):
                for begin, start, end in zip(first, low, high, strict=True):
                    places = np.arange(begin, begin + 4)
                    seen[places[(places >= start) & (places < end)]] += 1
            assert (seen == 1).all()

    def test_the_last_fifth_of_some_users_is_kept_from_the_training(self):
        lists = [list(range(size)) for size in (10, 3, 25, 200)]
        left, judged = hold_out(Sequences.of(likes_of_lists(lists, 200)), 1.0, np.random.default_rng(0))
        assert left.lengths.tolist() == [8, 3, 20, 180]
        assert judged.users.tolist() == [0, 2, 3]
        assert judged.targets[:7].tolist() == [8, 9, 20, 21, 22, 23, 24]
        assert judged.target_users[:8].tolist() == [0, 0, 1, 1, 1, 1, 1, 2]
        assert judged.seen.sum(axis=1).tolist() == [8, 20, 180]
        counts = left.counts(200)
        assert counts[[0, 2, 3, 7, 8, 20, 179, 180]].tolist() == [4, 4, 3, 3, 2, 1, 1, 0]

    def test_nobody_is_judged_where_nobody_likes_enough(self):
        own = Sequences.of(likes_of_lists([[1, 2], [3]], 10))
        left, judged = hold_out(own, 1.0, np.random.default_rng(0))
        assert judged is None
        assert left.lengths.tolist() == [2, 1]

    def test_quality_is_that_of_the_ranks_without_what_was_seen(self):
        seen = np.array([[True, False, False, False]])
        places = np.array([0, 0])
        judged = Judged(np.array([4]), np.array([9]), places, np.array([11, 12]), np.array([10, 11, 12, 13]), seen)
        scores = np.array([[0.9, 0.5, 0.1, 0.3]], np.float32)
        expected = (1 / np.log2(2) + 1 / np.log2(4)) / 2
        assert judged.quality(scores, scores[0, [1, 2]]) == pytest.approx(expected)


class TestFeatures:
    def test_the_components_kept_are_those_of_the_largest_variance(self):
        rng = np.random.default_rng(3)
        texts = (rng.standard_normal((400, 6)) * [5, 0.1, 3, 0.1, 0.1, 0.1]).astype(np.float32)
        features = ItemFeatures.fit([Item(str(row)) for row in range(400)], texts, 2, Hyperparameters().text, 0)
        share = np.square(features.text_components) / np.square(features.text_components).sum(axis=0)
        assert share[0, 0] > 0.99
        assert share[2, 1] > 0.99

    def test_a_missing_text_is_the_mean_text(self):
        texts = np.array([[1.0, 2.0], [3.0, 0.0], [np.nan, np.nan]], np.float32)
        items = [Item("a"), Item("b"), Item("c")]
        features = ItemFeatures.fit(items, texts, 2, Hyperparameters().text, 0)
        encoded, known = features.encode(items, texts)
        np.testing.assert_allclose(encoded[2], encoded[:2].mean(axis=0), atol=1e-6)
        assert known.tolist() == [True, True, False]


@trains
class TestTraining:
    def test_numpy_computes_what_the_keras_towers_do(self):
        from services.candidates.training.two_tower_fit import Trainer

        data = training_data()
        sequences = Sequences.of(data.likes)
        features = np.random.default_rng(5).standard_normal((N_ITEMS, 7)).astype(np.float32)
        trainer = Trainer(sequences, features, replace(SMALL, epochs=2), 3)
        trainer.run(None, np.random.default_rng(0))
        weights, (ids, context_ids) = trainer.towers.export()
        assert np.abs(weights.user.out.weights).max() > 1e-3
        rows = np.arange(N_ITEMS)
        of_keras = trainer.towers.item_vectors(ids, rows).numpy()
        np.testing.assert_allclose(weights.item_vectors(ids, features), of_keras, atol=1e-5)
        of_keras = trainer.towers.contexts(context_ids, rows).numpy()
        np.testing.assert_allclose(weights.contexts(context_ids, features), of_keras, atol=1e-5)
        pooled = np.random.default_rng(6).standard_normal((50, DIM)).astype(np.float32)
        np.testing.assert_allclose(weights.user(pooled), trainer.towers.user_vectors(pooled).numpy(), atol=1e-5)

    def test_a_history_is_pooled_in_training_as_in_serving(self):
        from services.candidates.training.two_tower_fit import Trainer

        strengths = np.random.default_rng(1).random(25).astype(np.float32) + 0.5
        lists = [list(range(25))]
        sequences = Sequences.of(likes_of_lists(lists, strengths=strengths))
        features = np.random.default_rng(5).standard_normal((N_ITEMS, 7)).astype(np.float32)
        trainer = Trainer(sequences, features, replace(SMALL, id_dropout=0.0), 3)
        weights, (_, context_ids) = trainer.towers.export()
        contexts = weights.contexts(context_ids, features)
        window = np.arange(25 - SMALL.history - SMALL.window, 25)[None].astype(np.int32)
        pooled, _ = trainer._pooled(window, strengths[window], 0)
        for number, target in enumerate(range(25 - SMALL.window, 25)):
            before = np.arange(target - SMALL.history, target)
            expected = like_weights(strengths[before], SMALL.half_life) @ contexts[before]
            np.testing.assert_allclose(pooled.numpy()[0, number], expected, atol=1e-5)

    def test_the_same_seed_makes_the_same_model_and_another_one_another(self, model):
        again, other = KIND.fit(training_data(), {}), KIND.fit(training_data(seed=2), {})
        for name in ("ids", "context_ids", "vectors", "contexts"):
            np.testing.assert_array_equal(getattr(model, name), getattr(again, name))
        assert np.abs(model.vectors - other.vectors).max() > 0.01

    @pytest.mark.parametrize("lists", [[], [[3]], [[3], [4, 5]]])
    def test_next_to_no_likes_are_no_error(self, lists):
        data = replace(training_data(parameters=replace(SMALL, epochs=1)), likes=likes_of_lists(lists))
        fitted = KIND.fit(data, {})
        assert np.isfinite(fitted.vectors).all()
        np.testing.assert_allclose(np.linalg.norm(fitted.vectors, axis=1), 1, atol=1e-5)

    def test_a_catalogue_without_text_and_attributes_lives_by_its_ids(self):
        data = training_data(parameters=replace(SMALL, epochs=1))
        nothing = np.full((N_ITEMS, 12), np.nan, np.float32)
        fitted = KIND.fit(replace(data, texts=ItemTexts(nothing, nothing)), {})
        liked = np.isin(np.arange(N_ITEMS), data.likes.sequence)
        assert (np.isnan(fitted.vectors[:, 0]) == ~liked).all()


@trains
class TestSource:
    def test_tastes_are_learned_of_liked_and_of_new_items(self, source):
        rows = np.arange(N_ITEMS)
        new = rows >= N_ITEMS - NEW
        for group in range(GROUPS):
            scores = source.score(profile([group, group + 3, group + 9, group + 30]), rows)
            own = rows % GROUPS == group
            for kind in (new, ~new):
                assert scores[kind & own].min() > scores[kind & ~own].max()

    def test_a_new_item_is_found_by_its_text(self, source, model):
        text = group_vectors(np.random.default_rng(9))[[0]]
        row = np.array([N_ITEMS + 40])
        everything = Allowed.everything(N_ITEMS + 50)
        user = profile([0, 3, 6])
        source.place(row, [Item("new", "a title")], ItemTexts(text, text))
        assert source.n_items == N_ITEMS + 1
        expected = model.item_vectors([Item("new", "a title")], ItemTexts(text, text))
        vector = model.user_vector(model.contexts[[0, 3, 6]], np.ones(3, np.float32))
        assert source.score(user, row)[0] == pytest.approx(float(expected[0] @ vector), abs=1e-6)
        assert row[0] in source.propose(user, N_ITEMS + 1, everything).rows
        source.remove(row)
        assert row[0] not in source.propose(user, N_ITEMS + 1, everything).rows
        assert np.isnan(source.score(user, row)).all()

    def test_who_likes_a_new_item_is_understood_by_its_text_of_the_moment(self, source):
        row = np.array([N_ITEMS + 3])
        user = profile(row)
        everything = Allowed.everything(N_ITEMS)
        assert "no liked item" in source.propose(user, 5, everything).reason
        text = group_vectors(np.random.default_rng(9))
        for group in (1, 2):
            source.place(row, [Item("new")], ItemTexts(text[[group]], text[[group]]))
            assert (source.propose(user, 5, everything).rows % GROUPS == group).all()

    def test_an_item_of_the_training_keeps_its_id_when_it_is_placed_again(self, source, model):
        data = training_data()
        rows = np.array([4, N_ITEMS - 1])
        source.remove(rows)
        source.place(rows, [data.items[row] for row in rows], ItemTexts(data.texts.full[rows], data.texts.title[rows]))
        vector = model.user_vector(model.contexts[[1]], np.ones(1, np.float32))
        np.testing.assert_allclose(source.score(profile([1]), rows), model.vectors[rows] @ vector, atol=1e-6)

    def test_an_item_of_which_nothing_is_known_any_more_leaves(self, source):
        row = np.array([N_ITEMS - 1])
        nothing = np.full((1, 12), np.nan, np.float32)
        source.place(row, [Item("bare")], ItemTexts(nothing, nothing))
        assert source.n_items == N_ITEMS - 1
        assert np.isnan(source.score(profile([1]), row)).all()

    def test_the_newest_likes_count_and_of_them_the_last_most(self, source):
        rows = np.arange(N_ITEMS)
        old = list(range(0, 60, GROUPS))
        recent = list(range(1, 1 + 10 * GROUPS, GROUPS))
        moved = source.score(profile(old + recent), rows)
        np.testing.assert_array_equal(moved, source.score(profile(recent), rows))
        one, two = source.score(profile([0, 1]), rows), source.score(profile([1, 0]), rows)
        assert one[rows % GROUPS == 1].mean() > two[rows % GROUPS == 1].mean()


@trains
def test_serving_imports_no_tensorflow(model, tmp_path):
    model.save(tmp_path)
    script = (
        "import sys; from pathlib import Path; from services.candidates.sources.registry import KINDS;"
        "kind = {one.name: one for one in KINDS}['two_tower']; model = kind.load(Path(sys.argv[1]));"
        "vector = model.user_vector(model.contexts[:2], model.ids[:2, 0] ** 2 + 1); assert len(vector) == model.dim;"
        "assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, cwd=ROOT)


def test_without_tensorflow_training_says_what_to_install(monkeypatch):
    monkeypatch.setattr(two_tower, "find_spec", lambda _name: None)
    with pytest.raises(TrainingPackageMissing) as refused:
        KIND.check()
    assert EXTRA in refused.value.message
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(need.startswith("tensorflow") for need in extras[EXTRA])
    assert "tensorflow==" in (ROOT / "requirements" / f"{EXTRA}.lock").read_text()
