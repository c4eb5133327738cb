"""Every kind of source fitted as the training job does, with the time that each takes, and opened as a server does."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.adapters.grpc_embedder import GrpcEmbedder
from services.candidates.catalogue.table import ItemTable
from services.candidates.settings import CandidatesSettings
from services.candidates.sources.kind import TrainingData
from services.candidates.sources.registry import fit_kinds, wanted_kinds
from services.candidates.training.embedding import embed_items, titles_needed
from services.candidates.training.likes import likes_of
from services.candidates.training.quotas import FOLD, QuotaLearner
from services.candidates.versions.version import About, Models, Version
from shared.data.folds import training_folds
from shared.rpc.client import open_channel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from services.candidates.merge.quotas import Quotas
    from services.candidates.sources.aligned_text import ItemTexts
    from services.candidates.sources.kind import Model, SourceKind
    from services.candidates.training.likes import Likes
    from shared.data.nouns import Event, Item

SETTINGS = CandidatesSettings()


@dataclass(frozen=True, eq=False)
class Fitted:
    """The models of a version, and the seconds that each kind's fit took."""

    models: Models
    seconds: dict[str, float]

    def version(self, quotas: Quotas | None = None) -> Version:
        """Returns the version opened as a server opens it."""
        about = About("benchmark", datetime.now(UTC), {}, {}, 0, "")
        return Version(about, replace(self.models, quotas=quotas), FlatIndex)


async def vectors(items: Sequence[Item], likes: Sequence[Likes], embedding: str) -> ItemTexts:
    """Returns the vectors that models of these likes need, made by the embedding service at this address."""
    titles = titles_needed(items, (one.per_item for one in likes), SETTINGS.hyperparameters.text)
    async with open_channel(embedding) as channel:
        texts, _ = await embed_items(items, titles, GrpcEmbedder(channel), lambda _done, _total: None)
    return texts


def rows_of(items: Sequence[Item]) -> dict[str, int]:
    """Returns the row of each item in the table of a version."""
    return {item.item_id: row for row, item in enumerate(items)}


def judged(events: Sequence[Event], items: Sequence[Item]) -> Likes:
    """Returns the likes in these events."""
    return likes_of(events, rows_of(items), SETTINGS.rules)


def fit(items: Sequence[Item], texts: ItemTexts, likes: Likes, names: Collection[str]) -> Fitted:
    """Fits the kinds of these names and what they need."""
    seconds: dict[str, float] = {}
    kinds = [_timed(kind, seconds) for kind in wanted_kinds(names)]
    models: dict[str, Any] = dict(fit_kinds(kinds, TrainingData(items, texts, likes, SETTINGS.hyperparameters)))
    table = ItemTable()
    for item in items:
        table.put(item)
    mapped = models["aligned_text"].map(items, texts)
    return Fitted(Models(table, models, mapped, texts.full, np.asarray(likes.events)), seconds)


def learn_quotas(items: Sequence[Item], texts: ItemTexts, visible: Sequence[Event]) -> Quotas:
    """Learns quotas as the job does: on the fold of the visible events that hides the newest of each user."""
    fold = next(one for one in training_folds(visible, is_positive) if one.name == FOLD)
    fitted = fit(items, texts, judged(fold.training, items), SETTINGS.trained_sources)
    return QuotaLearner(FlatIndex, SETTINGS.asked_sources, SETTINGS.rules).learn(fitted.models, fold.lists)


def is_positive(event: Event) -> bool:
    """Returns whether an event is a like."""
    return SETTINGS.rules.signal(event) > 0


def _timed(kind: SourceKind, seconds: dict[str, float]) -> SourceKind:
    def fit(data: TrainingData, models: Mapping[str, Any]) -> Model:
        started = time.perf_counter()
        model = kind.fit(data, models)
        seconds[kind.name] = round(time.perf_counter() - started, 2)
        return model

    return replace(kind, fit=fit)
