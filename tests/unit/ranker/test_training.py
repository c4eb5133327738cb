"""Training: which versions, which lists, what is measured."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import timedelta

import numpy as np
import pytest
from structlog.testing import capture_logs

from services.ranker.features.registry import INDEX, NAMES
from services.ranker.fusion.base import FitContext
from services.ranker.models.model import KIND, load_model
from services.ranker.nouns import VersionNote
from services.ranker.ports import CandidatesInfo, Embedded
from services.ranker.settings import RankerSettings
from services.ranker.training.examination import examination_of
from services.ranker.training.fitting import train
from services.ranker.training.job import TrainingJob
from services.ranker.training.learned import LearnedList, stacked, thinned
from services.ranker.training.lists import drafts, evenly, outcomes_of
from services.ranker.training.metrics import mean_ndcg
from services.ranker.training.negatives import Negatives
from services.ranker.training.tables import BaseTables
from services.ranker.training.versions import choose_versions
from shared.artifacts import ArtifactStore
from shared.data.folds import ListKind, TrainingList, training_folds
from shared.data.log import LogSnapshot
from shared.data.nouns import EventType, Item
from shared.data.splits import Protocol, Stage
from shared.data.texts import item_text
from shared.errors import ModelNotReady, NotFound
from shared.testing.movielens import movielens_events

from .house import WORLD, Neighbours
from .samples import RULES, START, rating


def note(name, stage, sequence, protocol="warm", fold=None) -> VersionNote:
    labels = {"protocol": protocol, "stage": stage} | ({"fold": fold} if fold else {})
    return VersionNote(name, START, labels, {}, sequence, is_current=False)


class TestVersions:
    def test_the_newest_complete_set_is_taken(self):
        newest_first = [
            note("t3", "test", 30),
            note("s2", "serving", 20),
            note("t2b", "test", 20),
            note("t2a", "test", 20),
            note("f2", "fit", 20, fold="cold"),
            note("f2w", "fit", 20, fold="warm-0"),
            note("s1", "serving", 10),
            note("t1", "test", 10),
            note("f1", "fit", 10, fold="cold"),
        ]
        chosen = choose_versions(newest_first, Protocol.WARM)
        assert chosen.sequence == 20
        assert {name: one.version for name, one in chosen.folds.items()} == {"cold": "f2", "warm-0": "f2w"}
        assert {stage: one.version for stage, one in chosen.targets.items()} == {Stage.TEST: "t2b", Stage.SERVING: "s2"}

    def test_only_warm_needs_a_serving_version(self):
        versions = [note("t", "test", 5, "new-items"), note("f", "fit", 5, "new-items", "cold")]
        assert set(choose_versions(versions, Protocol.NEW_ITEMS).targets) == {Stage.TEST}
        with pytest.raises(ModelNotReady, match=r"services\.candidates train --protocol warm"):
            choose_versions(versions, Protocol.WARM)

    def test_no_versions_at_all(self):
        with pytest.raises(ModelNotReady, match="new-users"):
            choose_versions([], Protocol.NEW_USERS)


class TestDrafts:
    def test_a_search_asks_as_of_just_after_the_history(self):
        history = tuple(rating("u", f"i{n}", 5, n) for n in range(5))
        one = TrainingList("u", ListKind.WARM, history, frozenset({"later"}))
        draft = drafts([one], version="v", k=350, history_limit=3)[0]
        assert [event.item_id for event in draft.query.history] == ["i2", "i3", "i4"]
        assert draft.query.as_of == history[-1].timestamp + timedelta(seconds=1)
        assert (draft.query.k, draft.query.model_version, draft.query.score_item_ids) == (350, "v", ())

    def test_a_pool_is_scored_as_it_is_without_what_was_seen(self):
        history = (rating("u", "a", 5, 0),)
        one = TrainingList("u", ListKind.NEW_ITEMS, history, frozenset({"b"}), frozenset({"a", "b", "c"}))
        assert drafts([one], version="v", k=9, history_limit=9)[0].query.score_item_ids == ("b", "c")

    def test_a_pool_over_the_limit_keeps_what_is_relevant(self):
        pool = frozenset(str(n) for n in range(5000))
        relevant = frozenset(str(n) for n in range(4990, 5000))
        one = TrainingList("u", ListKind.NEW_ITEMS, (rating("u", "a", 5, 0),), relevant, pool)
        ids = drafts([one], version="v", k=9, history_limit=9)[0].query.score_item_ids
        assert len(ids) == len(set(ids)) <= 2000
        assert relevant <= set(ids)

    def test_some_lists_come_without_the_language_model(self):
        one = TrainingList("u", ListKind.WARM, (rating("u", "a", 5, 0),), frozenset({"b"}))
        made = drafts([one] * 24, version="v", k=9, history_limit=9)
        assert sum(not draft.language_model for draft in made) == 2

    def test_labels_lie_after_everything_the_folds_models_saw(self):
        events = [event for event in movielens_events() if int(event.user_id) <= 30]
        for fold in training_folds(events, lambda event: RULES.signal(event) > 0):
            trained = {(event.user_id, event.item_id) for event in fold.training}
            for one in fold.lists:
                assert not {(one.user_id, item) for item in one.relevant} & trained


def test_lists_are_drawn_evenly_from_every_kind():
    history = (rating("u", "a", 5, 0),)
    lists = [
        TrainingList(f"{kind}-{n}", kind, history, frozenset({"b"}))
        for kind, count in ((ListKind.WARM, 100), (ListKind.COLD_USER, 40), (ListKind.NEW_ITEMS, 1))
        for n in range(count)
    ]
    half = evenly(lists, 0.5)
    kinds = [one.kind for one in half]
    assert (kinds.count(ListKind.WARM), kinds.count(ListKind.COLD_USER), kinds.count(ListKind.NEW_ITEMS)) == (50, 20, 1)
    assert len({one.user_id for one in half}) == len(half)
    assert sorted(one.user_id for one in evenly(lists, 1.0)) == sorted(one.user_id for one in lists)
    assert evenly([], 0.5) == []


def made_lists(users: int, seed: int = 0) -> list[LearnedList]:
    random = np.random.default_rng(seed)
    out = []
    for user in range(users):
        features = np.zeros((40, len(NAMES)), dtype=np.float32)
        features[:, 0] = random.normal(size=40)
        labels = (features[:, 0] >= np.sort(features[:, 0])[-3]).astype(np.float32)
        kind = ListKind.WARM if user % 2 else ListKind.COLD_USER
        out.append(LearnedList(kind, f"user-{user}", features, labels, held=user % 5 == 1))
    return out


class Silent:
    def update(self, stage, done, total):
        pass


class TwoEncoders:
    """Embedding with two versions, "blind" and "tuned": their vectors point along axes of their own."""

    def __init__(self):
        self.texts = []

    async def embed(self, texts, timeout_s, *, bulk=False, version=""):  # noqa: ARG002 (the port's signature)
        version = version or "tuned"
        self.texts += [(version, text) for text in texts]
        vector = np.eye(2, dtype=np.float32)[["blind", "tuned"].index(version)]
        return Embedded(np.tile(vector, (len(texts), 1)), np.ones(len(texts), dtype=bool), version)


class TestEncoders:
    ITEMS = {"a": Item("a", "one"), "b": Item("b", "two")}  # noqa: RUF012 (nobody writes to it)

    @staticmethod
    def made_with(embedding, stage):
        labels = {"protocol": "warm", "stage": stage}
        return VersionNote(f"c-{stage}", START, labels, {"embedding": embedding}, 1, is_current=False)

    async def test_each_candidates_version_has_the_vectors_of_its_own_encoder(self):
        encoder = TwoEncoders()
        tables = BaseTables(self.ITEMS, encoder, Silent(), RULES)
        for embedding, stage in (("blind", "fit"), ("blind", "test"), ("tuned", "serving")):
            table, texts = await tables.of(self.made_with(embedding, stage))
            assert (table.embedding_version, texts.version) == (embedding, embedding)
            found, _ = table.vectors.take(np.arange(2))
            assert found[:, 1].tolist() == [float(embedding == "tuned")] * 2
        # The stages of one encoder share what it read.
        assert sorted(encoder.texts) == [(one, text) for one in ("blind", "tuned") for text in ("one", "two")]

    async def test_one_encoder_for_all_where_that_is_said(self):
        tables = BaseTables(self.ITEMS, TwoEncoders(), Silent(), RULES, "blind")
        assert (await tables.of(self.made_with("tuned", "serving")))[0].embedding_version == "blind"

    async def test_the_current_one_where_candidates_say_nothing(self):
        tables = BaseTables(self.ITEMS, TwoEncoders(), Silent(), RULES)
        assert (await tables.of(note("c", "test", 1)))[0].embedding_version == "tuned"


class Finder(Neighbours):
    """Candidates whose versions of the stage `serving` alone were trained with the tuned encoder."""

    protocol = "warm"

    async def info(self, timeout_s):  # noqa: ARG002 (the port's signature)
        names, protocol = ("warm-0", "warm-1", "warm-2", "warm-3", "cold"), self.protocol
        folds = [note(f"f-{fold}", "fit", 9, protocol, fold) for fold in names]
        versions = [note("s", "serving", 9, protocol), note("t", "test", 9, protocol), *folds]
        encoder = {"fit": "blind", "test": "blind", "serving": "tuned"}
        versions = [replace(one, lineage={"embedding": encoder[one.labels["stage"]]}) for one in versions]
        return CandidatesInfo("s", "tuned", tuple(versions))


def small_log() -> LogSnapshot:
    random = np.random.default_rng(2)
    events = [
        rating(f"u{user}", WORLD[item], float(random.choice([2.0, 5.0])), day)
        for user in range(30)
        for day, item in enumerate(random.permutation(len(WORLD))[:20].tolist())
    ]
    return LogSnapshot(events, {item_id: Item(item_id, f"title {item_id}") for item_id in WORLD}, 9)


async def test_a_job_learns_from_as_many_others_as_the_settings_say(tmp_path):
    async def read(_sequence):
        return small_log()

    settings = RankerSettings(negatives_per_list=2, hard_negatives=0.5)
    job = TrainingJob(settings, Finder(), TwoEncoders(), read, ArtifactStore(str(tmp_path)), FitContext())
    lists = (await job.prepare(Protocol.WARM)).lists
    others = [(one.held, int((one.labels == 0).sum())) for one in lists]
    assert max(count for held, count in others if not held) == 2
    assert max(count for held, count in others if held) > 2


async def test_a_run_uses_the_encoder_of_each_candidates_version(tmp_path):
    snapshot = small_log()

    async def read(_sequence):
        return snapshot

    encoder, store = TwoEncoders(), ArtifactStore(str(tmp_path))
    job = TrainingJob(RankerSettings(), Finder(), encoder, read, store, FitContext())
    test, serving = await job.run(Protocol.WARM, ["linear"])
    assert test.lineage == {"candidates": "t", "embedding": "blind"}
    assert serving.lineage == {"candidates": "s", "embedding": "tuned"}
    for manifest, axis in ((test, 0), (serving, 1)):
        table = load_model(store.load(KIND, manifest.version), RULES).table
        found, _ = table.vectors.take(np.arange(len(WORLD)))
        assert (table.embedding_version, set(np.argmax(found, axis=1))) == (manifest.lineage["embedding"], {axis})
    # The lists' questions, too, were put to the one that is blind: the tuned one read the catalogue alone.
    read_by_tuned = [text for version, text in encoder.texts if version == "tuned"]
    assert sorted(read_by_tuned) == sorted(item_text(item) for item in snapshot.items.values())


class Written:
    """Impressions of a log, as they were written."""

    def __init__(self, events):
        self.events, self.asked = events, []

    async def read(self, recommendations, *, max_position, on_record):
        self.asked.append(set(recommendations))
        on_record(len(self.events))
        assert max_position >= 10
        return [one for one in self.events if one.attribution_token.rpartition(".")[0] in recommendations]


def shown_world():
    """Ratings of 30 users; the 16th of each, the last that is visible, was taken off a list of three."""
    random = np.random.default_rng(2)
    events, impressions = [], []
    for user in range(30):
        items = [WORLD[item] for item in random.permutation(len(WORLD)).tolist()]
        own = [rating(f"u{user}", items[day], float(random.choice([2.0, 5.0])), day) for day in range(20)]
        own[15] = replace(own[15], value=5.0, attribution_token=f"r{user}.2")
        # What came of another list belongs to the test part.
        own[18] = replace(own[18], value=5.0, attribution_token=f"later{user}.1")
        events += own
        for place, item_id in enumerate([items[20], items[15], items[21]], 1):
            shown = rating(f"u{user}", item_id, 0, 15)
            when, name = shown.timestamp - timedelta(hours=12), f"r{user}.{place}"
            shown = replace(shown, event_id=name, type=EventType.IMPRESSION, value=None, timestamp=when)
            impressions.append(replace(shown, attribution_token=name, position=place))
    return LogSnapshot(events, {item_id: Item(item_id, f"title {item_id}") for item_id in WORLD}, 9), impressions


class TestShown:
    SNAPSHOT, IMPRESSIONS = shown_world()

    def job(self, tmp_path, impressions, **settings):
        async def read(_sequence):
            return self.SNAPSHOT

        finder, store = Finder(), ArtifactStore(str(tmp_path))
        job = TrainingJob(RankerSettings(**settings), finder, TwoEncoders(), read, store, FitContext(), impressions)
        return job, finder

    async def test_rows_are_what_was_shown_as_it_stood_among_the_candidates(self, tmp_path):
        impressions = Written(self.IMPRESSIONS)
        job, finder = self.job(tmp_path, impressions)
        prepared = await job.prepare(Protocol.WARM)
        shown = {one.user_id: one for one in prepared.lists if one.kind is ListKind.SHOWN}
        assert impressions.asked == [{f"r{user}" for user in range(30)}]
        assert set(shown) == {f"u{user}" for user in range(30)}
        asked = [query for query in finder.queries if query.as_of == self.IMPRESSIONS[0].timestamp]
        assert len(asked) == 30
        assert all(query.model_version == "f-warm-0" and len(query.history) == 15 for query in asked)
        for user, one in shown.items():
            was_shown = {event.item_id: event.position for event in self.IMPRESSIONS if event.user_id == user}
            known = {event.item_id for event in self.SNAPSHOT.events if event.user_id == user}
            history = {
                event.item_id
                for event in self.SNAPSHOT.events
                if event.user_id == user and event.timestamp < START + timedelta(days=15)
            }
            candidates = [item_id for item_id in WORLD if item_id not in history]
            rows = [item_id for item_id in candidates if item_id in was_shown]
            assert one.positions.tolist() == [was_shown[item_id] for item_id in rows]
            assert one.labels.tolist() == [float(item_id in known) for item_id in rows]
            places = np.log1p([candidates.index(item_id) for item_id in rows])
            np.testing.assert_allclose(one.features[:, INDEX["als_place"]], places, rtol=1e-6)
            assert np.expm1(one.features[0, INDEX["history_events"]]) == pytest.approx(15)

    async def test_what_is_no_longer_proposed_is_scored_beside_the_candidates(self, tmp_path):
        job, finder = self.job(tmp_path, Written(self.IMPRESSIONS), candidates=3)
        prepared = await job.prepare(Protocol.WARM)
        shown = [one for one in prepared.lists if one.kind is ListKind.SHOWN]
        assert [len(one.labels) for one in shown] == [3] * 30
        was_shown = {event.item_id for event in self.IMPRESSIONS}
        more = [query for query in finder.queries if query.score_item_ids and query.model_version == "f-warm-0"]
        assert more
        assert all(set(query.score_item_ids) <= was_shown and len(query.score_item_ids) <= 3 for query in more)

    async def test_the_manifest_tells_of_them(self, tmp_path):
        job, _ = self.job(tmp_path, Written(self.IMPRESSIONS))
        manifests = await job.run(Protocol.WARM, ["linear"])
        for manifest in manifests:
            told = manifest.data["shown"]
            # The curve is read off the users that are learned from.
            assert (told["lists"], told["taken"], told["learned"], told["explored"]) == (24, 24, 30, False)
            curve = dict(told["examination"])
            # All were taken at the second of three positions.
            assert max(curve.values()) == 1
            assert curve[2] > curve[1]
            model = load_model(job.store.load(KIND, manifest.version), RULES)
            assert json.loads(json.dumps(asdict(model.shown))) == json.loads(json.dumps(told))
            assert "linear ndcg@10 shown" in manifest.metrics

    @pytest.mark.parametrize("settings", [{"impression_lists": 0}, {"impression_lists": 7}])
    async def test_they_are_bounded(self, tmp_path, settings):
        impressions = Written(self.IMPRESSIONS)
        job, _ = self.job(tmp_path, impressions, **settings)
        prepared = await job.prepare(Protocol.WARM)
        shown = [one for one in prepared.lists if one.kind is ListKind.SHOWN]
        assert len(shown) == settings["impression_lists"]
        assert [len(one) for one in impressions.asked] == [3 * 7] * bool(settings["impression_lists"])

    async def test_what_has_no_list_takes_no_room_of_those_that_have(self, tmp_path):
        unseen = {f"r{user}" for user in range(7)}
        impressions = Written([one for one in self.IMPRESSIONS if one.attribution_token.split(".")[0] not in unseen])
        job, _ = self.job(tmp_path, impressions, impression_lists=7)
        with capture_logs() as logs:
            prepared = await job.prepare(Protocol.WARM)
        asked = impressions.asked[0]
        assert asked & unseen
        assert sum(one.kind is ListKind.SHOWN for one in prepared.lists) == 7
        told = next(one for one in logs if one["event"] == "lists that were shown")
        made = len(asked - unseen)
        assert (told["wanted"], told["impressions"], told["made"], told["kept"]) == (21, 3 * made, made, 7)

    async def test_items_that_the_protocol_hides_are_no_rows(self, tmp_path):
        job, finder = self.job(tmp_path, Written(self.IMPRESSIONS))
        finder.protocol = Protocol.NEW_ITEMS.value
        prepared = await job.prepare(Protocol.NEW_ITEMS)
        hidden = set(WORLD) - {event.item_id for event in prepared.visible}
        learned = {one.user_id: one for one in prepared.lists if one.kind is ListKind.SHOWN}
        was_shown = [event for event in self.IMPRESSIONS if event.user_id in learned]
        assert any(event.item_id in hidden for event in was_shown)
        for user_id, one in learned.items():
            own = [event for event in was_shown if event.user_id == user_id and event.item_id not in hidden]
            assert sorted(one.positions) == [event.position for event in own]

    async def test_held_users_tell_the_curve_nothing(self, tmp_path):
        job, _ = self.job(tmp_path, Written(self.IMPRESSIONS))
        prepared = await job.prepare(Protocol.WARM)
        shown = [one for one in prepared.lists if one.kind is ListKind.SHOWN]
        learned = [one for one in shown if not one.held]
        assert 0 < len(learned) < len(shown)
        np.testing.assert_array_equal(prepared.examination.examined, examination_of(learned).examined)
        assert prepared.examination.lists == len(learned)


class TestFitting:
    def test_fusions_are_measured_on_users_they_have_not_seen(self):
        trained = train(Protocol.WARM, ["linear", "gbdt"], made_lists(40), "", FitContext())
        assert set(trained.fusions) == {"linear", "gbdt"}
        assert trained.validation["linear"]["ndcg@10"] > 0.95
        assert set(trained.gates) == {"linear", "gbdt"}
        assert set(trained.validation["linear"]) == {"ndcg@10", "ndcg@10 warm", "ndcg@10 cold-user"}

    def test_a_wanted_default_wins(self):
        assert train(Protocol.WARM, ["linear"], made_lists(20), "linear", FitContext()).default == "linear"

    def test_too_little_to_learn_from_says_so(self):
        with pytest.raises(ModelNotReady, match="import more events"):
            train(Protocol.WARM, ["linear"], made_lists(1), "", FitContext())

    def test_an_unknown_fusion_lists_the_known_ones(self):
        with pytest.raises(NotFound, match="gbdt, linear, svm"):
            train(Protocol.WARM, ["quantum"], made_lists(20), "", FitContext())


def test_thinning_keeps_every_relevant_row():
    one = made_lists(1)[0]
    thin = thinned(one, Negatives(10))
    assert thin.labels.sum() == one.labels.sum() == 3
    assert len(thin.labels) == 13
    assert len(thin.features) == 13
    assert thinned(one, Negatives(100)).labels.tolist() == one.labels.tolist()
    np.testing.assert_array_equal(thinned(one, Negatives(10)).features, thin.features)


def test_outcomes_are_read_from_the_events_that_there_are():
    later = [rating("u", "a", 2, 1), replace(rating("u", "b", 0, 2), type=EventType.CLICK, value=None)]
    found = outcomes_of(later, ["b", "c", "a"])
    assert set(found) == {"click", "rating"}
    assert found["click"].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(found["rating"], [np.nan, np.nan, 2])
    assert outcomes_of([], ["a"]) == {}


def test_stacked_lists_are_what_is_asked_for(table):
    features = np.zeros((3, len(NAMES)), dtype=np.float32)
    labels = np.array([1, 0, 0], dtype=np.float32)
    weights = np.array([1, -1], dtype=np.float32)
    with_vectors = LearnedList(
        ListKind.WARM, "u", features, labels, np.array([0, 3, 2]), np.array([1, 2]), weights, {"rating": labels}
    )
    without = LearnedList(ListKind.WARM, "v", features, labels)
    lists = stacked([with_vectors, without], table)
    one, other = lists.inputs()
    expected = with_vectors.input(table)
    np.testing.assert_array_equal(one.items, expected.items)
    np.testing.assert_array_equal(one.history, expected.history)
    assert one.weights.tolist() == [1, -1]
    assert not one.items[1].any()
    assert not other.items.any()
    assert len(other.history) == 0
    np.testing.assert_array_equal(lists.outcomes["rating"], [1, 0, 0, np.nan, np.nan, np.nan])


def test_stacking_keeps_lists_apart():
    lists = stacked(made_lists(3))
    assert lists.sizes.tolist() == [40, 40, 40]
    assert lists.starts.tolist() == [0, 40, 80]
    assert len(lists.features) == 120
    assert stacked([]).features.shape == (0, len(NAMES))


class ByFirst:
    def predict(self, inputs):
        return inputs.features[:, 0]


def test_ndcg_by_hand():
    features = np.arange(4, 0, -1, dtype=np.float32)[:, None]
    one = LearnedList(ListKind.WARM, "u", features, np.array([0, 1, 0, 1], dtype=np.float32))
    best = 1 + 1 / np.log2(3)
    assert mean_ndcg(ByFirst(), [one]) == pytest.approx((1 / np.log2(3) + 1 / np.log2(5)) / best)
    assert np.isnan(mean_ndcg(ByFirst(), []))
