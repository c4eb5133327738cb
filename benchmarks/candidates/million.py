"""A version of a million made-up items, published as the training job publishes one.

The vectors are those of `index.py`; as item factors they are handed to the fit of `als` by an engine that learned
nothing. Every item is liked once, by one of the made-up users; its text's vector is its own at length 1. One item in a
hundred has the category "rare".
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from benchmarks.candidates.index import DIM, vectors_and_queries
from services.candidates.adapters.faiss_exact import search_matrix
from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.catalogue.table import ItemTable
from services.candidates.index.parameters import IndexParameters
from services.candidates.index.spaces import unit
from services.candidates.ports import FittedFactors
from services.candidates.settings import CandidatesSettings
from services.candidates.sources.aligned_text import ItemTexts
from services.candidates.training.likes import Likes
from services.candidates.training.trainer import fit_models
from services.candidates.versions.files import save_indexes, save_models
from services.candidates.versions.version import KIND
from shared.artifacts import ArtifactStore
from shared.data.nouns import Event, EventType, Item

if TYPE_CHECKING:
    from datetime import datetime

    from services.candidates.arrays import F32
    from services.candidates.sources.hyperparameters import AlsParameters

RARE = "rare"
RARE_EVERY = 100
LIKES_PER_TRAINED_USER = 10
LIKES_PER_USER = 20
EMBEDDING = "made-up"


@dataclass(frozen=True)
class MadeUpFactors:
    """`AlsEngine` whose factors are given."""

    factors: F32
    name: str = "made up"

    def fit(self, likes: Likes, parameters: AlsParameters, seed: int, threads: int) -> FittedFactors:
        """Returns the given factors."""
        del likes, seed, threads
        return FittedFactors(self.factors, parameters.regularization, parameters.alpha)


@dataclass(frozen=True, eq=False)
class Million:
    """What was published, and what to ask about it."""

    queries: F32
    """Vectors of the questions, (questions, dim)."""
    rows: dict[str, int]
    """Row of each item."""
    events: list[Event]
    """Likes of the users to ask about: each likes the items nearest to one of the queries."""
    figures: dict[str, Any]

    @property
    def users(self) -> list[str]:
        """The users to ask about."""
        return list(dict.fromkeys(event.user_id for event in self.events))


def publish(artifacts: Path, count: int, now: datetime) -> Million:
    """Makes a version of `count` items current in a store of artifacts."""
    vectors, queries = vectors_and_queries(count)
    table = ItemTable()
    for row in range(count):
        kind = RARE if row % RARE_EVERY == 0 else "common"
        table.put(Item(_id(row), f"Item {row}", categories=(kind,)))
    content = unit(vectors)
    parameters = CandidatesSettings().hyperparameters
    models = fit_models(table, ItemTexts(content, content), _likes(count), parameters, ("als",), MadeUpFactors(vectors))
    # Few items are searched flat; a quick run shall see what many are searched with.
    indexes = FaissIndexes(IndexParameters(flat_items=min(IndexParameters.flat_items, count // 4)))
    with tempfile.TemporaryDirectory(prefix="million-") as folder:
        save_models(models, Path(folder))
        started = time.perf_counter()
        built = save_indexes(models, Path(folder), indexes, EMBEDDING)
        seconds = round(time.perf_counter() - started, 1)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        ArtifactStore(str(artifacts)).publish(
            KIND,
            Path(folder),
            data={"sequence": 0, "cursor": "", "items": count},
            lineage={"embedding": EMBEDDING},
            labels={"protocol": "warm", "stage": "serving"},
        )
    figures = {
        "items": count,
        "dim": DIM,
        "indexes": built,
        "indexes_built_s": seconds,
        "artifact_mb": round(size / 1e6),
    }
    return Million(queries, dict(table.rows), _events(vectors, queries, now), figures)


def _id(row: int) -> str:
    return f"item-{row:07d}"


def _likes(count: int) -> Likes:
    users = count // LIKES_PER_TRAINED_USER
    items = np.random.default_rng(1).permutation(count)[: users * LIKES_PER_TRAINED_USER]
    indptr = np.arange(users + 1) * LIKES_PER_TRAINED_USER
    matrix = sp.csr_matrix((np.ones(len(items), np.float32), items.copy(), indptr), shape=(users, count))
    matrix.sort_indices()
    ids = tuple(f"trained-{number:07d}" for number in range(users))
    return Likes(matrix, np.ones(count, np.int64), ids, items, np.zeros(len(items)))


def _events(vectors: F32, queries: F32, now: datetime) -> list[Event]:
    nearest, _ = search_matrix(vectors, queries, LIKES_PER_USER, None)
    return [
        Event(f"like-{user}-{place}", f"user-{user}", _id(row), EventType.LIKE, now)
        for user, rows in enumerate(nearest.tolist())
        for place, row in enumerate(rows)
    ]
