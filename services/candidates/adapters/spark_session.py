"""Opens a Spark session: on this machine, on a cluster, or the one that `spark-submit` gives."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from services.candidates.adapters.spark_java import java_home
from shared.errors import DependencyUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyspark.sql import SparkSession

log = structlog.get_logger(__name__)

APP_NAME = "fusionrec-candidates"
_ALWAYS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.showConsoleProgress": "false",
    # The plan of ten passes, the distance between checkpoints, is deeply nested.
    "spark.driver.extraJavaOptions": "-Xss8m",
    "spark.executor.extraJavaOptions": "-Xss8m",
}
_SUBMITTED = "PYSPARK_GATEWAY_PORT"
"""Set by `spark-submit`, which has then decided on the master."""


@contextmanager
def spark_session(master: str, conf: Mapping[str, str]) -> Iterator[SparkSession]:
    """Yields a session, stopped at the end.

    Args:
        master: "local[2]", "spark://…", "k8s://…", "yarn"; empty: what `spark-submit` says, else all cores here.
        conf: Spark properties on top.

    Raises:
        DependencyUnavailable: PySpark or Java is missing, or Spark does not start; its own words are on standard error.

    """
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise DependencyUnavailable(
            "spark", "PySpark is missing: install requirements/candidates-spark.lock"
        ) from error
    builder = SparkSession.builder.appName(APP_NAME)
    is_local = master.startswith("local") or (not master and _SUBMITTED not in os.environ)
    if is_local or master:
        builder = builder.master(master or "local[*]")
    with tempfile.TemporaryDirectory(prefix="spark-") as folder:
        for name, value in {**_ALWAYS, **(_local(folder) if is_local else {}), **conf}.items():
            builder = builder.config(name, value)
        try:
            with java_home():
                session = builder.getOrCreate()
        except PySparkException as error:
            raise DependencyUnavailable("spark", "it does not start; it says why on standard error") from error
        session.sparkContext.setLogLevel("ERROR")
        try:
            yield session
        finally:
            session.stop()


@contextmanager
def failures_told() -> Iterator[None]:
    """Makes what Spark raises a `DependencyUnavailable`; the log has the reason."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException) as error:
        log.exception("Spark failed")
        raise DependencyUnavailable("spark", "its job failed; the log has the reason") from error


def _local(folder: str) -> dict[str, str]:
    """Returns properties for one machine: nothing has to be reached from elsewhere, 200 partitions would be empty."""
    return {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "4",
        # Without checkpoints the plan of a fit grows with every pass.
        "spark.checkpoint.dir": folder,
    }
