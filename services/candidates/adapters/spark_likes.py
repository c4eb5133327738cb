"""Judges the events of an export in Spark: `training/likes.likes_of`, without a Python object per event."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import Window
from pyspark.sql import functions as f

from services.candidates.adapters.spark_session import failures_told
from services.candidates.training.likes import Likes
from shared.data.nouns import EventType
from shared.data.splits import item_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyspark.sql import Column, DataFrame, SparkSession

    from services.candidates.arrays import I64
    from shared.data.preferences import PreferenceRules

NO_EVENTS = "sequence long, user_id string, item_id string, type string, value double, timestamp timestamp"
_US = 1e6


class SparkLog:
    """The events of an export that count, and what users like by them. The likes stay in Spark as well.

    Args:
        session: where it is computed.
        files: the Parquet files with the events; Spark's workers read them.
        rules: how events become likes.

    """

    def __init__(self, session: SparkSession, files: Sequence[str], rules: PreferenceRules) -> None:
        self._session = session
        self._rules = rules
        with failures_told():
            # A log without events has no files.
            events = session.read.parquet(*files) if files else session.createDataFrame([], NO_EVENTS)
            self._events = events.where(f.col("type") != EventType.IMPRESSION.name)
        self._counts: dict[str, int] | None = None
        self._pairs: tuple[Likes, DataFrame] | None = None

    def events_by_item(self) -> dict[str, int]:
        """Returns the number of events of each item that has one."""
        if self._counts is None:
            with failures_told():
                table = self._events.groupBy("item_id").count().toArrow()
            self._counts = dict(zip(table["item_id"].to_pylist(), table["count"].to_pylist(), strict=True))
        return self._counts

    def likes(self, rows: Mapping[str, int]) -> Likes:
        """Returns what `likes_of` returns for the same events: columns of numbers, 28 bytes a like on their way here.

        Args:
            rows: the table's row of each item id; every item with an event is in it.

        """
        with failures_told():
            users = self._events.select("user_id").distinct().toArrow()["user_id"].combine_chunks().sort()
            pairs = (
                judged(self._events, self._rules)
                .join(self._numbered("user_id", users, "user", range(len(users))), "user_id")
                .join(self._numbered("item_id", rows.keys(), "item", rows.values()), "item_id")
                .select("user", "item", "strength", "time_us", "sequence")
                .persist()
            )
            table = pairs.toArrow()
        columns = [table[name].to_numpy() for name in table.column_names]
        likes = self._collected(users.to_pylist(), rows, *columns)
        self._pairs = (likes, pairs)
        return likes

    def pairs_of(self, likes: Likes) -> DataFrame | None:
        """Returns user, item and strength of each like, when these are the likes that were judged here last."""
        if self._pairs is None or self._pairs[0] is not likes:
            return None
        return self._pairs[1].select("user", "item", "strength")

    def _numbered(self, id_name: str, ids: Iterable[str], name: str, numbers: Iterable[int]) -> DataFrame:
        columns = {id_name: pa.array(ids, pa.string()), name: pa.array(numbers, pa.int32())}
        return self._session.createDataFrame(pa.table(columns))

    def _collected(
        self,
        users: list[str],
        rows: Mapping[str, int],
        user: I64,
        item: I64,
        strength: I64,
        time_us: I64,
        sequence: I64,
    ) -> Likes:
        by_item = np.lexsort((item, user))
        indptr = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=len(users)))])
        matrix = sp.csr_matrix(
            (strength[by_item].astype(np.float32), item[by_item].astype(np.int64), indptr),
            shape=(len(users), len(rows)),
        )
        # As `by_user` sorts a user's events; the sequence number is the order of the log.
        by_time = np.lexsort((sequence, _ranks(rows)[item], time_us, user))
        events = np.zeros(len(rows), np.int64)
        for item_id, count in self.events_by_item().items():
            events[rows[item_id]] = count
        return Likes(matrix, events, tuple(users), item[by_time].astype(np.int64), time_us[by_time] / _US)


def judged(events: DataFrame, rules: PreferenceRules) -> DataFrame:
    """Returns user_id, item_id, strength, time_us and sequence of each like.

    As `profile.build_profile` judges: a negative takes back the likes before it, of several positives after that the
    strongest counts, at the time of the last.
    """
    place = f.struct("time_us", "sequence")
    own = Window.partitionBy("user_id", "item_id")
    signals = events.select(
        "user_id", "item_id", "sequence", f.unix_micros("timestamp").alias("time_us"), signal(rules).alias("signal")
    ).where("signal != 0")
    last_negative = f.max(f.when(f.col("signal") < 0, place)).over(own)
    return (
        signals.withColumn("place", place)
        .withColumn("negative", last_negative)
        .where((f.col("signal") > 0) & (f.col("negative").isNull() | (f.col("place") > f.col("negative"))))
        .groupBy("user_id", "item_id")
        .agg(f.max("signal").cast("float").alias("strength"), f.max("place").alias("last"))
        .select("user_id", "item_id", "strength", "last.time_us", "last.sequence")
    )


def signal(rules: PreferenceRules) -> Column:
    """Returns `PreferenceRules.signal` of an event, as a column."""
    kind, value = f.col("type"), f.col("value")
    weight = reduce(
        lambda chosen, one: chosen.when(kind == one[0].name, f.lit(float(one[1]))),
        list(rules.weights.items()),
        f.when(f.lit(False), 0.0),
    ).otherwise(0.0)
    rated = kind.isin(_names(EventType.RATING, EventType.REVIEW)) & value.isNotNull()
    played = f.coalesce(value, f.lit(1.0)) >= rules.positive_play
    return (
        f.when(rated, f.when(value >= rules.positive_rating, weight).otherwise(-weight))
        .when(kind == EventType.PLAY.name, f.when(played, weight).otherwise(0.0))
        .otherwise(weight)
    )


def _names(*kinds: EventType) -> list[str]:
    return [kind.name for kind in kinds]


def _ranks(rows: Mapping[str, int]) -> I64:
    """Returns each row's place in the order that decides between events of the same time, (rows,)."""
    order = sorted(set(map(item_order, rows)))
    places = dict(zip(order, range(len(order)), strict=True))
    ranks = np.zeros(len(rows), np.int64)
    _fill(ranks, ((row, places[item_order(item_id)]) for item_id, row in rows.items()))
    return ranks


def _fill(into: I64, values: Iterable[tuple[int, int]]) -> None:
    for row, value in values:
        into[row] = value
