"""Chooses the reader of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.cli.console import EXIT_USAGE, Refusal
from shared.cli.readers.csv_ import CsvSource
from shared.cli.readers.jsonl import JsonlSource
from shared.cli.readers.parquet import ParquetSource

if TYPE_CHECKING:
    from pathlib import Path

    from shared.cli.readers.rows import Source

FORMATS = ("csv", "tsv", "jsonl", "parquet")
_BY_EXTENSION = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def open_source(path: Path, kind: str | None = None, delimiter: str | None = None) -> Source:
    """Returns the rows of a file; `kind` is one of `FORMATS`, None to go by the file's extension.

    Raises:
        Refusal: the format is not known, or the file is not of it.

    """
    kind = kind or _BY_EXTENSION.get(path.suffix.lower())
    if kind is None:
        raise Refusal(f"the format of {path.name} is not clear: say --format {'|'.join(FORMATS)}", EXIT_USAGE)
    if kind == "jsonl":
        return JsonlSource(path)
    if kind == "parquet":
        return ParquetSource(path)
    return CsvSource(path, delimiter or ("\t" if kind == "tsv" else ","))
