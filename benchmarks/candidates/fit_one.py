"""Fits one kind of source on drawn likes and says what it took. `scale.py` starts it, one process for each."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from benchmarks.candidates.process import peak_mb, resident_mb, restart_peak
from benchmarks.candidates.synthetic import Draws, tastes_of, vectors
from services.candidates.settings import CandidatesSettings
from services.candidates.sources.aligned_text import ItemTexts
from services.candidates.sources.kind import TrainingData
from services.candidates.sources.registry import KINDS
from services.candidates.training.likes import Likes
from shared.data.nouns import Item

if TYPE_CHECKING:
    from services.candidates.sources.kind import SourceKind

SEED = 5
TEXT_DIM = 384
READ_TEXTS = frozenset({"aligned_text", "content", "two_tower"})


def likes_from(draws: Draws, items: int) -> Likes:
    """Returns drawn likes as training has them, every strength 1."""
    users = len(draws.indptr) - 1
    ones = np.ones(len(draws.items), np.float32)
    matrix = sp.csr_matrix((ones, draws.items.copy(), draws.indptr), shape=(users, items))
    matrix.sort_indices()
    counts = np.bincount(draws.items, minlength=items).astype(np.int64)
    ids = tuple(f"user-{number:08d}" for number in range(users))
    return Likes(matrix, counts, ids, draws.items.astype(np.int64), draws.times)


def data_for(kind: SourceKind, folder: Path, items: int) -> TrainingData:
    """Returns what the kind is fitted on: vectors of texts only where it reads them."""
    tastes = tastes_of(items, SEED).tolist()
    made = [
        Item(f"item-{row}", f"Item {row}", categories=(f"taste-{taste}",), attributes={"year": 1980.0 + row % 40})
        for row, taste in enumerate(tastes)
    ]
    if kind.name in READ_TEXTS:
        texts = vectors(items, TEXT_DIM, SEED)
        texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    else:
        texts = np.full((items, 1), np.nan, np.float32)
    likes = likes_from(Draws.load(folder), items)
    return TrainingData(made, ItemTexts(texts, texts), likes, CandidatesSettings().hyperparameters)


def measure(kind: SourceKind, folder: Path, items: int) -> dict[str, Any]:
    """Fits and saves the kind below `folder`, where the models that it needs are."""
    data = data_for(kind, folder, items)
    models = {other.name: other.load(folder / other.name) for other in KINDS if other.name in kind.needs}
    restart_peak()
    held = resident_mb()
    started = time.perf_counter()
    model = kind.fit(data, models)
    seconds, peak = time.perf_counter() - started, peak_mb()
    model.save(folder / kind.name)
    size = sum(path.stat().st_size for path in (folder / kind.name).rglob("*") if path.is_file())
    return {
        "fit_s": round(seconds, 2),
        "peak_mb": round(peak - held),
        "data_mb": round(held),
        "model_mb": round(size / 1e6, 1),
    }


def main() -> None:
    """Reads options from standard input as JSON, fits, prints what it took as JSON."""
    options = json.load(sys.stdin)
    kind = next(one for one in KINDS if one.name == options["kind"])
    print(json.dumps(measure(kind, Path(options["folder"]), options["items"])))


if __name__ == "__main__":
    main()
