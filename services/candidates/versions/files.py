"""A version's folder."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.catalogue.storage import load_table, save_table
from services.candidates.merge.quotas import Quotas
from services.candidates.sources.registry import load_kinds, save_kinds
from services.candidates.versions.version import About, Models, Version
from shared.errors import CorruptData

if TYPE_CHECKING:
    from pathlib import Path

    from services.candidates.ports import IndexFactory
    from shared.artifacts import Loaded, Manifest

QUOTAS = "quotas.json"
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


def open_version(loaded: Loaded, make_index: IndexFactory) -> Version:
    """Builds a version from a verified artifact. Takes a second for some ten thousand items: not in the event loop.

    Raises:
        CorruptData: the files are intact but do not make up a version (of an older format, for example).

    """
    manifest = loaded.manifest
    try:
        return Version(about_of(manifest), load_models(loaded.folder), make_index)
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
