"""Parquet, a batch of rows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from shared.cli.console import Refusal
from shared.cli.readers.rows import BadRow, Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH_ROWS = 4096


class ParquetSource:
    """Rows of a Parquet file; times without a zone are UTC, finer than microseconds are cut."""

    typed = True
    unit = "row"

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with pq.ParquetFile(path) as file:
                self.total: int = file.metadata.num_rows
                self.columns: tuple[str, ...] | None = tuple(file.schema_arrow.names)
        except (pa.ArrowException, ValueError) as error:
            raise Refusal(f"{path} is not a Parquet file that can be read: {error}") from error

    def rows(self) -> Iterator[Row | BadRow]:
        """Yields the rows, numbered from 1."""
        number = 0
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(BATCH_ROWS):
                    for values in _microseconds(batch).to_pylist():
                        number += 1
                        yield Row(number, values, number)
        except (pa.ArrowException, ValueError) as error:
            raise Refusal(f"{self._path} cannot be read after row {number}: {error}") from error


def _microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Casts nanosecond times: Python's datetime has none."""
    arrays = [
        column.cast(pa.timestamp("us", column.type.tz), safe=False) if pa.types.is_timestamp(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
