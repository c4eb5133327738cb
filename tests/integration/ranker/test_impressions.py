"""Impressions and what came of them, in the log of a real ingestion service, through the training that is served."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from fusionrec.ranker.v1 import ranker_service_pb2 as pb

from services.ranker.models.model import KIND
from services.ranker.training.shown import VisibleLog, recommendation_of, shown_lists
from shared.artifacts import ArtifactStore
from shared.data.folds import training_folds, visible_events
from shared.data.preferences import PreferenceRules
from shared.data.splits import Protocol


def expected(trained):
    """The lists that the world's log has for the warm protocol, joined here."""
    rules = PreferenceRules()
    visible = visible_events(Protocol.WARM, trained.events, lambda event: rules.signal(event) > 0)
    folds = list(training_folds(visible, lambda event: rules.signal(event) > 0))
    return shown_lists(trained.impressions, VisibleLog(visible, folds, rules), timedelta(days=7))


def test_the_served_model_has_learned_from_what_was_shown(trained, ranker):
    lists = expected(trained)
    assert len(lists) > 50
    store = ArtifactStore(trained.environment["RANKER_ARTIFACTS"])
    info = ranker.GetModelInfo(pb.GetModelInfoRequest(), timeout=20)
    whole = (one for one in map(partial(store.manifest, KIND), store.versions(KIND)) if "warm_start_of" not in one.data)
    manifest = next(one for one in whole if one.labels == {"protocol": "warm", "stage": "serving"})
    told = manifest.data["shown"]
    # One was taken of each. The curve is read off four users of five.
    assert told["lists"] == told["taken"]
    assert told["lists"] == pytest.approx(0.8 * told["learned"], rel=0.1)
    # Other tests bring users of their own, and with them others are hidden in the cold fold.
    assert told["learned"] == pytest.approx(len(lists), rel=0.1)
    assert not told["explored"]
    # Where they took things, by place, is known: the curve that was fitted goes down with it.
    curve = dict(told["examination"])
    looked_at = [curve[place] for place in range(1, 6)]
    assert looked_at[0] == max(looked_at) == 1
    assert looked_at[4] < 0.75
    taken = Counter(one.positions[next(iter(one.list.relevant))] for one in lists)
    assert taken[1] > taken[5]
    assert "linear ndcg@10 shown" in manifest.metrics
    assert all("ndcg@10 shown" in dict(one.validation) for one in info.fusions)
    if info.model_version == manifest.version:
        assert (info.shown.lists, info.shown.learned) == (told["lists"], told["learned"])
        assert {one.last_position: one.examined for one in info.shown.examination} == curve


def test_what_was_shown_is_what_the_log_has(trained):
    shown = {recommendation_of(event.attribution_token) for event in trained.impressions}
    came_of = {recommendation_of(event.attribution_token) for event in trained.events} - {""}
    assert shown == came_of
