"""Writes the log up to its end: all of it, or what is new since the last export into the same folder."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from services.ingestion.exporting.columns import event_batch
from services.ingestion.reading.cursors import encode_cursor
from shared.errors import NotFound
from shared.exports import ExportManifest, ExportPart
from shared.exports.events import EVENT_SCHEMA
from shared.exports.folder import EVENTS, ITEMS, OlderFormat
from shared.exports.items import ITEM_SCHEMA, item_batch

if TYPE_CHECKING:
    from services.ingestion.ports import EventColumns, LogExport
    from shared.exports import ExportFolder
    from shared.telemetry.progress import JobProgress

ROWS_PER_GROUP = 100_000
"""Events read, kept in memory and written at once: a row group of the file."""
ROWS_PER_PART = 1_000_000
"""A file ends with the row group that reaches this many events."""
ITEMS_PER_GROUP = 2_000
COMPRESSION = "zstd"


class AnotherLog(Exception):
    """The folder holds the export of another log; the message says what to do."""


class Exporter:
    """One export.

    What is new since the last one is added as new files. When a user was forgotten since then, every file is written
    anew: the old ones hold what the user did.
    """

    def __init__(self, log: LogExport, folder: ExportFolder, progress: JobProgress) -> None:
        self._log = log
        self._folder = folder
        self._progress = progress

    def run(self) -> ExportManifest:
        """Exports, and returns the manifest, which is published.

        Raises:
            AnotherLog: the folder is another log's.
            CorruptData: the folder's manifest cannot be read.
            DependencyUnavailable: the store cannot be read now.

        """
        end = self._log.end()
        last = self._last(end)
        if last is not None and last.sequence == end:
            return last
        kept = () if last is None else last.parts
        after = 0 if last is None else last.sequence
        parts = (*kept, *self._write_parts(after, end))
        items_file, items = self._write_items(end)
        manifest = ExportManifest(
            log_id=self._log.log_id,
            sequence=end,
            cursor=encode_cursor(self._log.log_id, end),
            created_at=datetime.now(UTC).isoformat(),
            events=sum(part.events for part in parts),
            items=items,
            items_file=items_file,
            parts=parts,
        )
        self._folder.publish(manifest)
        return manifest

    def _last(self, end: int) -> ExportManifest | None:
        """Returns the export to go on from; None to begin anew."""
        try:
            last = self._folder.manifest()
        except (NotFound, OlderFormat):
            return None
        if last.log_id != self._log.log_id or last.sequence > end:
            raise AnotherLog(
                "the folder holds the export of another log, or of this one before it was restored from a backup: "
                "name another folder, or delete this one"
            )
        return None if self._log.forgot_users(last.sequence, end) else last

    def _write_parts(self, after: int, end: int) -> list[ExportPart]:
        parts: list[ExportPart] = []
        position = after
        while position < end:
            columns = self._log.read_events(position, end, ROWS_PER_GROUP)
            if not len(columns):
                break
            part, position = self._write_part(columns, after, end)
            parts.append(part)
        self._progress.update("events", end - after, end - after)
        return parts

    def _write_part(self, columns: EventColumns, after: int, end: int) -> tuple[ExportPart, int]:
        """Writes one file, beginning with these events; returns it and the position after it."""
        # With the end of the export in it, no name is used twice: what the last manifest names stays as it was.
        first, events, position = columns.sequence[0], 0, after
        name = f"{EVENTS}/part-{first:015d}-{end:015d}.parquet"
        with self._folder.writing(name) as file, pq.ParquetWriter(file, EVENT_SCHEMA, compression=COMPRESSION) as out:
            while len(columns):
                out.write_batch(event_batch(columns))
                events += len(columns)
                position = columns.sequence[-1]
                self._progress.update("events", position - after, end - after)
                if events >= ROWS_PER_PART:
                    break
                columns = self._log.read_events(position, end, ROWS_PER_GROUP)
        return ExportPart(name=name, first=first, last=position, events=events), position

    def _write_items(self, end: int) -> tuple[str, int]:
        name = f"{ITEMS}/items-{end:015d}.parquet"
        items, after, more = 0, "", True
        with ExitStack() as stack:
            file = stack.enter_context(self._folder.writing(name))
            out = stack.enter_context(pq.ParquetWriter(file, ITEM_SCHEMA, compression=COMPRESSION))
            while more:
                page, more = self._log.list_items(after, ITEMS_PER_GROUP)
                if page:
                    out.write_batch(item_batch(page))
                    items, after = items + len(page), page[-1].item_id
                self._progress.update("items", items, items if not more else 0)
        return name, items
