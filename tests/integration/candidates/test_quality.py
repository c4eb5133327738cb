"""How good the single sources are on MovieLens: full ranking, no sampled metrics, protocols of `shared/data/splits`."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from fusionrec.channel import connect
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc

from services.candidates.__main__ import main
from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.index.allowed import Allowed
from services.candidates.index.parameters import IndexParameters
from services.candidates.profile import build_profile
from services.candidates.sources.als import AlsModel, AlsSource
from services.candidates.sources.hyperparameters import Hyperparameters
from services.candidates.sources.item_item import ItemItemModel, ItemItemSource
from services.candidates.sources.item_knn import ItemKnnModel, ItemKnnSource
from services.candidates.sources.own_vectors import filled
from services.candidates.sources.popular import PopularSource
from services.candidates.sources.sequential import SequentialModel, SequentialSource
from services.candidates.sources.user_knn import UserKnnSource
from services.candidates.sources.user_knn_model import UserKnnModel
from services.candidates.training.likes import likes_of
from services.candidates.versions.files import open_version
from services.candidates.versions.version import KIND
from shared.artifacts import ArtifactStore
from shared.data.preferences import PreferenceRules
from shared.data.splits import by_user, hidden_items, per_user_chronological
from shared.rpc.convert import encode_event, encode_item
from shared.testing.movielens import movielens_events, movielens_items
from shared.testing.processes import ServiceProcess

RULES = PreferenceRules()
DISCOUNT = 1 / np.log2(np.arange(2, 12))


def is_positive(event):
    return RULES.signal(event) > 0


def ndcg(ranked, relevant):
    """NDCG@10, the ideal over min(10, relevant)."""
    gains = np.isin(ranked[:10], list(relevant))
    return float((DISCOUNT[: len(gains)] * gains).sum() / DISCOUNT[: min(10, len(relevant))].sum())


def mean_ndcg(source, cases, rows, pool=None):
    """Mean over (history, relevant item ids); what the history has seen is left out."""
    values = []
    for history, relevant in cases:
        profile = build_profile(history, rows, RULES)
        allowed = np.zeros(len(rows), bool)
        allowed[slice(None) if pool is None else pool] = True
        allowed[profile.seen] = False
        ranked = source.propose(profile, 10, Allowed(allowed)).rows
        values.append(ndcg(ranked, {rows[item_id] for item_id in relevant}))
    return np.mean(values), len(values)


@pytest.fixture(scope="module")
def warm():
    splits = per_user_chronological(by_user(movielens_events())).values()
    rows = {item.item_id: row for row, item in enumerate(movielens_items())}
    seen = [event for split in splits for event in (*split.train, *split.validation)]
    cases = [
        ((*split.train, *split.validation), relevant)
        for split in splits
        if (relevant := {event.item_id for event in split.test if is_positive(event)})
    ]
    return rows, likes_of(seen, rows, RULES), cases


def test_popular_warm(warm):
    rows, likes, cases = warm
    assert mean_ndcg(PopularSource(likes.per_item), cases, rows) == (pytest.approx(0.065, abs=0.003), 656)


def test_als_warm(warm):
    rows, likes, cases = warm
    parameters = Hyperparameters()
    strengths = likes.interactions(parameters.als.tried_weight)
    model = AlsModel.fit(strengths, parameters.als, parameters.seed, threads=2)
    index = FlatIndex(model.factors.shape[1])
    index.put(np.arange(len(rows)), model.factors)
    value, users = mean_ndcg(AlsSource(model, index), cases, rows)
    assert users == 656
    assert value >= 0.113


def test_item_item_warm(warm):
    rows, likes, cases = warm
    model = ItemItemModel.fit(likes, Hyperparameters().item_item)
    value, users = mean_ndcg(ItemItemSource(model), cases, rows)
    assert users == 656
    assert value >= 0.118


def test_neighbours_and_sequences_warm(warm):
    rows, likes, cases = warm
    parameters = Hyperparameters()
    als = AlsModel.fit(likes.interactions(parameters.als.tried_weight), parameters.als, parameters.seed, threads=2)
    users = UserKnnModel.fit(likes, als, parameters.user_knn)
    sources = {
        0.108: ItemKnnSource(ItemKnnModel.fit(likes, parameters.item_knn)),
        0.104: UserKnnSource(users, als, filled(FlatIndex, users.vectors), len(rows)),
        0.118: ItemItemSource(ItemItemModel.fit(likes, replace(parameters.item_item, max_items=10))),
        0.120: SequentialSource(SequentialModel.fit(likes, parameters.sequential)),
    }
    for least, source in sources.items():
        value, users_counted = mean_ndcg(source, cases, rows)
        assert users_counted == 656
        assert value >= least, source.name


@pytest.mark.slow
def test_text_finds_new_items_with_the_real_encoder(tmp_path, monkeypatch):
    store = {"INGESTION_STORE": f"sqlite:///{tmp_path / 'events.db'}"}
    with ServiceProcess("ingestion", store) as ingestion, ServiceProcess("embedding", {"OMP_NUM_THREADS": "2"}) as lm:
        ingestion.wait_ready()
        with connect(ingestion.address) as channel:
            stub = ingestion_grpc.IngestionServiceStub(channel)
            for part in _parts(movielens_items()):
                stub.UpsertItems(ingestion_pb.UpsertItemsRequest(items=map(encode_item, part)))
            for part in _parts(movielens_events()):
                stub.WriteEvents(ingestion_pb.WriteEventsRequest(events=map(encode_event, part)))
        lm.wait_ready(240)
        monkeypatch.setenv("CANDIDATES_INGESTION_ADDRESS", ingestion.address)
        monkeypatch.setenv("CANDIDATES_EMBEDDING_ADDRESS", lm.address)
        monkeypatch.setenv("CANDIDATES_ARTIFACTS", str(tmp_path / "artifacts"))
        assert main(["train", "--protocol", "new-items", "--stages", "test", "--progress", "json"]) == 0
    version = open_version(_newest(tmp_path / "artifacts"), FlatIndex, FaissIndexes(IndexParameters()))
    hidden = hidden_items(event for event in movielens_events() if is_positive(event))
    pool = np.array([version.table.rows[item_id] for item_id in hidden])
    cases = []
    for own in by_user(movielens_events()).values():
        relevant = {event.item_id for event in own if event.item_id in hidden and is_positive(event)}
        if relevant:
            cases.append(([event for event in own if event.item_id not in hidden], relevant))
    value, users = mean_ndcg(version.sources["aligned_text"], cases, version.table.rows, pool)
    assert users == 658
    assert value >= 0.22


def _parts(values):
    return (values[start : start + 1_000] for start in range(0, len(values), 1_000))


def _newest(folder):
    store = ArtifactStore(os.fspath(folder))
    return store.load(KIND, store.versions(KIND)[0])
