"""Exports of the log as Parquet: the format that ingestion writes and batch engines read. Needs pyarrow.

A folder, local or behind any fsspec URL:

    _manifest.json                                          what is part of the export: written last, in one step
    events/part-<first sequence>-<end of the log>.parquet   the events, by ranges of the log
    items/items-<end of the log>.parquet                    the catalogue as it stood then

Only the files that the manifest names are part of the export. Files and folders whose names begin with "_" or "." are
passed over by Spark, DuckDB and Arrow.
"""

from shared.exports.folder import ExportFolder
from shared.exports.manifest import ExportManifest, ExportPart

__all__ = ["ExportFolder", "ExportManifest", "ExportPart"]
