"""Features from the language model's vectors: how near an item is to what the user liked, disliked, wrote, does now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.profile import JUDGED_HALF_LIFE

if TYPE_CHECKING:
    from services.ranker.features.profile import TextProfile, UserProfile
    from services.ranker.items.arrays import F32, Mask, Rows
    from services.ranker.items.table import ItemTable

NEAREST = 3
SHARPNESS = 10.0
"""Of the attention by nearness: weights are softmax(SHARPNESS * cosine)."""
OF_TEXTS = ("lm_mean", "lm_recent", "lm_best", "lm_last", "lm_review")
OF_JUDGED = (
    "lm_liked",
    "lm_disliked",
    "lm_affinity",
    "lm_disliked_best",
    "lm_closest",
    "lm_closest_age",
    "lm_attention",
)

_NAN = np.float32(np.nan)


@dataclass(frozen=True)
class JudgedVectors:
    """The newest judged items that have a vector, oldest first.

    `rows`: their rows in the table, intp (m,). `vectors`: float32 (m, dim), centred, of length 1. `weights`: float32
    (m,), signed strengths, halved every 20 newer items.
    """

    rows: Rows
    vectors: F32
    weights: F32

    @classmethod
    def of(cls, table: ItemTable, profile: UserProfile) -> JudgedVectors:
        """Returns those of a profile."""
        rows = table.find([item_id for item_id, _ in profile.judged])
        vectors, found = table.centred(rows)
        strengths = np.array([strength for _, strength in profile.judged], dtype=np.float32)
        age = np.arange(len(rows) - 1, -1, -1, dtype=np.float32)
        weights = strengths * np.exp2(-age / np.float32(JUDGED_HALF_LIFE))
        return cls(rows[found], vectors[found], weights[found].astype(np.float32))


def text_features(texts: TextProfile | None, vectors: F32, found: Mask, columns: dict[str, F32]) -> None:
    """Adds the similarities to the texts of the text profile; `vectors`, float32 (n, dim), are the items'."""
    missing = np.full(len(vectors), _NAN, dtype=np.float32)
    columns.update(dict.fromkeys(OF_TEXTS, missing))
    if texts is None or vectors.shape[1] != texts.vectors.shape[1]:
        return
    cosines = vectors @ texts.vectors.T
    cosines[~found] = _NAN
    columns["lm_mean"] = cosines.mean(axis=1)
    columns["lm_recent"] = np.asarray(cosines @ texts.weights, dtype=np.float32)
    columns["lm_best"] = cosines.max(axis=1)
    columns["lm_last"] = cosines[:, -1]
    if texts.reviews:
        columns["lm_review"] = cosines[:, : texts.reviews].max(axis=1)


def judged_features(judged: JudgedVectors, vectors: F32, found: Mask, columns: dict[str, F32]) -> None:
    """Adds the similarities to the judged items of the history."""
    missing = np.full(len(vectors), _NAN, dtype=np.float32)
    columns.update(dict.fromkeys(OF_JUDGED, missing))
    if not len(judged.weights) or not len(vectors):
        return
    cosines = vectors @ judged.vectors.T
    cosines[~found] = _NAN
    liked, disliked = np.flatnonzero(judged.weights > 0), np.flatnonzero(judged.weights < 0)
    if len(liked):
        own = cosines[:, liked]
        columns["lm_liked"] = np.asarray(own @ _shares(judged.weights[liked]), dtype=np.float32)
        nearest = min(NEAREST, len(liked))
        best = np.partition(own, len(liked) - nearest, axis=1)[:, -nearest:]
        columns["lm_closest"] = np.asarray(best.mean(axis=1), dtype=np.float32)
        ages = np.log1p(len(judged.weights) - 1 - liked[np.argmax(own, axis=1)])
        columns["lm_closest_age"] = np.where(found, ages, _NAN).astype(np.float32)
    if len(disliked):
        own = cosines[:, disliked]
        columns["lm_disliked"] = np.asarray(own @ _shares(-judged.weights[disliked]), dtype=np.float32)
        columns["lm_disliked_best"] = own.max(axis=1)
    affinity = np.nan_to_num(columns["lm_liked"]) - np.nan_to_num(columns["lm_disliked"])
    columns["lm_affinity"] = np.where(found, affinity, _NAN).astype(np.float32)
    near = np.exp(SHARPNESS * (cosines - 1))
    columns["lm_attention"] = ((near @ judged.weights) / near.sum(axis=1)).astype(np.float32)


def session_feature(session: F32, vectors: F32, found: Mask) -> F32:
    """Returns the similarity to the mean of the session's vectors, float32 (s, dim): float32 (n,)."""
    if not len(session) or not len(vectors):
        return np.full(len(vectors), _NAN, dtype=np.float32)
    mean = session.mean(axis=0)
    nearness = vectors @ (mean / max(float(np.linalg.norm(mean)), 1e-9))
    return np.where(found, nearness, _NAN).astype(np.float32)


def _shares(weights: F32) -> F32:
    return np.asarray(weights / weights.sum(), dtype=np.float32)
