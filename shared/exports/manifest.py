"""What an export consists of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

FORMAT_VERSION = 2
"""Of the files and their columns. A reader refuses another one; an export over an older one writes every file anew."""


class ExportPart(BaseModel):
    """One file of events: the log from sequence `first` to `last`, both included."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Path under the export's root, with "/"."""
    first: int
    last: int
    events: int


class ExportManifest(BaseModel):
    """An export: the log `log_id` up to `sequence`, impressions included."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT_VERSION
    log_id: str
    sequence: int
    """The last log record that the export knows of."""
    cursor: str
    """Where to follow the log from (ReadEvents)."""
    created_at: str
    """ISO 8601, UTC."""
    events: int
    items: int
    items_file: str
    """Path of the catalogue's file under the export's root."""
    parts: tuple[ExportPart, ...] = Field(default=())
    """By sequence, without overlap."""
