"""A version's folder."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.catalogue.storage import load_table, save_table
from services.candidates.index.spaces import Spaces, SpaceVectors
from services.candidates.merge.quotas import Quotas
from services.candidates.sources.own_vectors import own_vectors, present_rows, to_build
from services.candidates.sources.registry import load_kinds, save_kinds
from services.candidates.versions.version import About, Models, Version
from shared.data.item_evidence import ItemReviews
from shared.errors import CorruptData

if TYPE_CHECKING:
    from pathlib import Path

    from services.candidates.arrays import F32
    from services.candidates.ports import IndexBuilder, IndexFactory, VectorIndex
    from shared.artifacts import Loaded, Manifest

QUOTAS = "quotas.json"
REVIEWS = "reviews.json"
OWN_TEXTS = "own_texts.npz"
INDEXES = "indexes"
"""Folder below a version's with the indexes that were built: of the spaces, and of sources under the kind's name."""
SOURCES = "sources"
"""Folder below a version's that holds one folder per kind of source."""


def save_models(models: Models, folder: Path) -> None:
    """Writes models into an empty folder."""
    save_table(models.table, folder)
    save_kinds(models.by_kind, folder / SOURCES)
    np.save(folder / "mapped.npy", models.mapped)
    # Half precision: cosines change in the fourth digit, and the file is half the size.
    np.save(folder / "content.npy", models.content.astype(np.float16))
    np.save(folder / "events.npy", models.events)
    if models.quotas is not None:
        (folder / QUOTAS).write_text(json.dumps(models.quotas.to_json()))
    if len(models.reviews):
        (folder / REVIEWS).write_text(json.dumps(models.reviews.to_json(), ensure_ascii=False))
        vectors = np.array(list(models.own_texts.values()), np.float16)
        np.savez(folder / OWN_TEXTS, rows=np.array(list(models.own_texts), np.int64), vectors=vectors)


def load_models(folder: Path) -> Models:
    """Reads what `save_models` wrote.

    Raises:
        OSError, ValueError, KeyError, TypeError: the folder does not hold a version.

    """
    return Models(
        table=load_table(folder),
        by_kind=load_kinds(folder / SOURCES),
        mapped=np.load(folder / "mapped.npy", mmap_mode="r"),
        content=np.load(folder / "content.npy").astype(np.float32),
        events=np.load(folder / "events.npy"),
        quotas=Quotas.from_json(json.loads((folder / QUOTAS).read_text())) if (folder / QUOTAS).exists() else None,
        reviews=_load_reviews(folder / REVIEWS),
        own_texts=_load_own_texts(folder / OWN_TEXTS),
    )


def _load_reviews(file: Path) -> ItemReviews:
    return ItemReviews.from_json(json.loads(file.read_text())) if file.exists() else ItemReviews()


def _load_own_texts(file: Path) -> dict[int, F32]:
    if not file.exists():
        return {}
    with np.load(file) as arrays:
        return dict(zip(arrays["rows"].tolist(), arrays["vectors"].astype(np.float32), strict=True))


def save_indexes(models: Models, folder: Path, builder: IndexBuilder, embedding: str) -> list[dict[str, Any]]:
    """Builds the large indexes into a version's folder; returns what was measured, one per index.

    Small ones are not built: they are filled when the version is loaded.
    """
    folder = folder / INDEXES
    return [*_save_spaces(models, folder, builder, embedding), *_save_own(models, folder, builder, embedding)]


def _save_spaces(models: Models, folder: Path, builder: IndexBuilder, embedding: str) -> list[dict[str, Any]]:
    als = models.by_kind["als"]
    rows, dim = models.mapped.shape
    if not builder.is_built(rows, dim):
        return []
    learned = np.where(als.known[:, None], als.factors, np.float32(np.nan))
    spaces = Spaces.built(builder, SpaceVectors(learned, np.asarray(models.mapped), models.content))
    spaces.save(builder, folder, embedding)
    return [_measured(name, index) for name, index in spaces.by_name.items()]


def _save_own(models: Models, folder: Path, builder: IndexBuilder, embedding: str) -> list[dict[str, Any]]:
    measured = []
    for name, vectors in own_vectors(models.by_kind).items():
        if builder.is_built(len(present_rows(vectors)), vectors.shape[1]):
            index = builder.build(to_build(vectors))
            builder.save(index, folder / name, embedding)
            measured.append(_measured(name, index))
    return measured


def _measured(name: str, index: VectorIndex) -> dict[str, Any]:
    return {
        "name": name,
        "type": index.type,
        "vectors": index.count,
        "recall_at_100": index.recall_at_100,
        "parameters": index.parameters,
    }


def open_version(loaded: Loaded, make_index: IndexFactory, builder: IndexBuilder) -> Version:
    """Builds a version from a verified artifact. Takes a second for some ten thousand items: not in the event loop.

    Raises:
        CorruptData: the files are intact but do not make up a version (of an older format, for example).

    """
    manifest = loaded.manifest
    try:
        about, models = about_of(manifest), load_models(loaded.folder)
        folder = loaded.folder / INDEXES
        spaces = Spaces.open(builder, folder, about.embedding_version) if Spaces.are_saved(folder) else None
        built = [name for name in models.by_kind if (folder / name).is_dir()]
        own = {name: builder.open(folder / name, about.embedding_version) for name in built}
        return Version(about, models, make_index, spaces, own)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise _other_format(manifest) from error


def _other_format(manifest: Manifest) -> CorruptData:
    return CorruptData(f"candidates {manifest.version} is not of the format that this server reads")


def about_of(manifest: Manifest) -> About:
    """Returns the facts of a manifest that answers need."""
    return About(
        version=manifest.version,
        created_at=datetime.fromisoformat(manifest.created_at),
        labels=manifest.labels,
        lineage=manifest.lineage,
        sequence=int(manifest.data.get("sequence", 0)),
        cursor=str(manifest.data.get("cursor", "")),
    )
