"""A version's folder."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.catalogue.storage import load_table, save_table
from services.candidates.index.spaces import Spaces, SpaceVectors
from services.candidates.merge.quotas import Quotas
from services.candidates.sources.registry import load_kinds, save_kinds
from services.candidates.versions.version import About, Models, Version
from shared.errors import CorruptData

if TYPE_CHECKING:
    from pathlib import Path

    from services.candidates.ports import IndexBuilder, IndexFactory
    from shared.artifacts import Loaded, Manifest

QUOTAS = "quotas.json"
INDEXES = "indexes"
"""Folder below a version's with its built indexes, where the catalogue is large."""
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
    )


def save_indexes(models: Models, folder: Path, builder: IndexBuilder, embedding: str) -> list[dict[str, Any]]:
    """Builds the indexes of a large catalogue into a version's folder; returns what was measured, one per space.

    Small ones are not built: they are filled when the version is loaded.
    """
    als = models.by_kind["als"]
    rows, dim = models.mapped.shape
    if not builder.is_built(rows, dim):
        return []
    learned = np.where(als.known[:, None], als.factors, np.float32(np.nan))
    spaces = Spaces.built(builder, SpaceVectors(learned, np.asarray(models.mapped), models.content))
    spaces.save(builder, folder / INDEXES, embedding)
    return [
        {"type": one.type, "vectors": one.count, "recall_at_100": one.recall_at_100, "parameters": one.parameters}
        for one in spaces.every
    ]


def open_version(loaded: Loaded, make_index: IndexFactory, builder: IndexBuilder) -> Version:
    """Builds a version from a verified artifact. Takes a second for some ten thousand items: not in the event loop.

    Raises:
        CorruptData: the files are intact but do not make up a version (of an older format, for example).

    """
    manifest = loaded.manifest
    try:
        about, models = about_of(manifest), load_models(loaded.folder)
        spaces = None
        if (loaded.folder / INDEXES).is_dir():
            spaces = Spaces.open(builder, loaded.folder / INDEXES, about.embedding_version)
        return Version(about, models, make_index, spaces)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CorruptData(f"candidates {manifest.version} is not of the format that this server reads") from error


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
