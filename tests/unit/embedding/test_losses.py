"""The losses against their formulas in NumPy."""

from __future__ import annotations

import os

import numpy as np
import pytest

from services.embedding.training.losses import info_nce, masked_tokens, relational

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"


@pytest.fixture(scope="module")
def random():
    return np.random.default_rng(0)


def _units(random, rows, dim):
    made = random.standard_normal((rows, dim)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize("correction", [0.0, 1.0])
def test_info_nce_is_its_formula(random, correction):
    anchors, targets = _units(random, 6, 4), _units(random, 6, 4)
    negatives = random.random((6, 6)) < 0.6
    np.fill_diagonal(negatives, val=False)
    log_q = np.log(random.random(6)).astype(np.float32)
    scores = anchors @ targets.T / 0.2 - correction * log_q
    expected = np.mean(
        [
            -np.log(np.exp(scores[r, r]) / (np.exp(scores[r, r]) + np.exp(scores[r, negatives[r]]).sum()))
            for r in range(6)
        ]
    )
    found = info_nce(anchors, targets, negatives, log_q, temperature=0.2, correction=correction)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_what_is_no_negative_does_not_count(random):
    anchors, targets = _units(random, 4, 4), _units(random, 4, 4)
    nothing = np.zeros((4, 4), bool)
    loss = info_nce(anchors, targets, nothing, np.zeros(4, np.float32), temperature=0.1, correction=1.0)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)


def test_drift_is_none_for_what_only_turned(random):
    vectors = _units(random, 5, 4)
    turn, _ = np.linalg.qr(random.standard_normal((4, 4)))
    assert float(relational(vectors @ turn.astype(np.float32), vectors)) == pytest.approx(0.0, abs=1e-10)
    assert float(relational(_units(random, 5, 4), vectors)) > 0.01


def test_hidden_tokens_are_scored_by_cross_entropy(random):
    logits = random.standard_normal((3, 7)).astype(np.float32)
    labels = np.array([1, 0, 6])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -np.log(shares[[0, 1], labels[:2]]).mean()
    found = masked_tokens(logits, labels, np.array([1, 1, 0], np.float32))
    assert float(found) == pytest.approx(expected, rel=1e-5)
