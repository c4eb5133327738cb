"""The manifest of an artifact: what it is, what made it, from what, and the checksum of every file."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from shared.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANIFEST_FILE = "manifest.json"
FORMAT = 1
"""Version of the manifest's own format."""


class Manifest(BaseModel):
    """Description of one artifact version. Written last: a version without a manifest does not exist."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    kind: str
    version: str
    created_at: str
    config: dict[str, Any] = Field(default_factory=dict)
    """The settings of the job, JSON values."""
    config_hash: str = ""
    """SHA-256 of `config` in canonical JSON, hex."""
    data: dict[str, Any] = Field(default_factory=dict)
    """The data snapshot: log cursor, counts, split."""
    lineage: dict[str, str] = Field(default_factory=dict)
    """Versions of the models it was made with or for, by kind."""
    labels: dict[str, str] = Field(default_factory=dict)
    """What to find it by: {"protocol": "warm", "stage": "test"}."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """What was measured at training time, by name."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256, hex, of every file, by path relative to the version's folder."""


def hash_config(config: Mapping[str, Any]) -> str:
    """Returns the SHA-256, hex, of a configuration in canonical JSON."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Returns the SHA-256, hex, of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(manifest: Manifest, folder: Path) -> None:
    """Checks every file of a version against its checksum.

    Raises:
        CorruptData: a file is missing or its checksum differs; the message names it.

    """
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise CorruptData(f"{manifest.kind} {manifest.version}: file {name} is missing")
        if hash_file(path) != digest:
            raise CorruptData(f"{manifest.kind} {manifest.version}: file {name} fails its checksum")
