"""Files as rows: CSV, JSONL, Parquet, each read in pieces, each row with its place in the file."""

from shared.cli.readers.open import FORMATS, open_source
from shared.cli.readers.rows import BadRow, Row, Source

__all__ = ["FORMATS", "BadRow", "Row", "Source", "open_source"]
