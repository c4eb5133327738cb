"""What a network attended to, as reasons."""

from __future__ import annotations

import numpy as np

from services.ranker.explain.reasons import attended
from services.ranker.features.language import JudgedVectors
from services.ranker.features.profile import UserProfile
from services.ranker.fusion.base import Attending
from services.ranker.fusion.deep import DeepFusion
from services.ranker.fusion.linear import LinearFusion

from .samples import RULES, seen


def test_attention_speaks_for_liked_items_alone(table):
    profile = UserProfile.of([seen("c", 5, 1), seen("a", 1, 2), seen("d", 5, 3), seen("b", 5, 4)], RULES)
    judged = JudgedVectors.of(table, profile)
    assert [table.ids[row] for row in judged.rows] == ["c", "a", "b"]
    attention = np.array([[0.2, 0.7, 0.1], [0.5, 0.1, 0.4]], dtype=np.float32)
    found = attended(judged, attention, table.find(["b", "d", "c", "a", "unknown"]))
    np.testing.assert_allclose(found, [[0.1, 0.4], [0, 0], [0.2, 0.5], [0, 0], [0, 0]])


def test_only_the_network_attends():
    assert isinstance(DeepFusion(), Attending)
    assert not isinstance(LinearFusion(), Attending)
