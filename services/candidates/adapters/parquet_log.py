"""The log from an export of ingestion, instead of from the running service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.data.log import LogSnapshot
from shared.data.nouns import EventType
from shared.exports import ExportFolder
from shared.exports.events import read_events
from shared.exports.items import read_items

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.exports import ExportManifest


class ParquetLog:
    """One export, as it stood when this was made.

    Args:
        root: its folder or fsspec URL.

    Raises:
        NotFound: there is no export.
        CorruptData: its manifest cannot be read.

    """

    def __init__(self, root: str) -> None:
        self._folder = ExportFolder(root)
        self.manifest: ExportManifest = self._folder.manifest()

    @property
    def event_files(self) -> list[str]:
        """Absolute paths or URLs of the files with the events, by sequence."""
        return [self._folder.url(part.name) for part in self.manifest.parts]

    def catalogue(self) -> LogSnapshot:
        """Returns the catalogue and where the export ends, without the events.

        Raises:
            CorruptData: the file is missing or cannot be read.

        """
        snapshot = LogSnapshot(sequence=self.manifest.sequence, cursor=self.manifest.cursor)
        for items in read_items(self._folder):
            snapshot.items.update((item.item_id, item) for item in items)
        return snapshot

    def snapshot(self, on_batch: Callable[[int], None] | None = None) -> LogSnapshot:
        """Returns what reading the log up to the export's end gives, impressions left out; a Python object per event.

        `on_batch(events)` is told of progress.

        Raises:
            CorruptData: a file is missing or cannot be read.

        """
        snapshot = self.catalogue()
        for events in read_events(self._folder, exclude=[EventType.IMPRESSION]):
            snapshot.events.extend(events)
            if on_batch is not None:
                on_batch(len(events))
        return snapshot
