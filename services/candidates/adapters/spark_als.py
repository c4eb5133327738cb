"""Matrix factorisation by Spark MLlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.ml.recommendation import ALS
from pyspark.sql import functions as f

from services.candidates.adapters.spark_session import failures_told
from services.candidates.ports import FittedFactors
from services.candidates.sources.bm25 import MIN_IDF, Bm25

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from services.candidates.adapters.spark_likes import SparkLog
    from services.candidates.arrays import F32, I64
    from services.candidates.sources.hyperparameters import AlsParameters, SparkAlsParameters
    from services.candidates.training.likes import Likes


class SparkAls:
    """Implements `ports.AlsEngine`.

    MLlib minimises sum c (p - x'y)^2 + lambda (sum n_u |x_u|^2 + sum n_i |y_i|^2) with c = 1 + alpha w and n the
    number of likes of the user or item (Zhou et al., ALS-WR, 2008). In process c = alpha w, and the penalty does not
    grow with n: the numbers of one do not fit the other, and Spark has its own, `SparkAlsParameters`.

    Args:
        session: where it is computed.
        parameters: those that only Spark has.
        log: where the likes may have been judged; those are still in Spark and need not be sent there again.

    """

    name = "spark"

    def __init__(self, session: SparkSession, parameters: SparkAlsParameters, log: SparkLog | None = None) -> None:
        self._session = session
        self._parameters = parameters
        self._log = log

    def fit(self, likes: Likes, parameters: AlsParameters, seed: int, threads: int) -> FittedFactors:
        """Returns item factors; see `ports.AlsEngine.fit`. Spark's master decides about threads, not `threads`.

        The same likes, seed and number of blocks give the same factors.
        """
        del threads
        items = np.zeros((likes.matrix.shape[1], parameters.factors), np.float32)
        if likes.matrix.nnz:
            with failures_told():
                rows, factors = self._fit(likes, parameters, seed)
            items[rows] = factors
        return FittedFactors(items, self._parameters.fold_in_regularization, self._parameters.fold_in_alpha)

    def _fit(self, likes: Likes, parameters: AlsParameters, seed: int) -> tuple[I64, F32]:
        pairs = None if self._log is None else self._log.pairs_of(likes)
        weights = self._sent(likes, parameters) if pairs is None else weighted(pairs, parameters)
        als = ALS(
            userCol="user",
            itemCol="item",
            ratingCol="weight",
            implicitPrefs=True,
            rank=parameters.factors,
            maxIter=parameters.iterations,
            regParam=self._parameters.regularization,
            alpha=self._parameters.alpha,
            seed=seed,
            numUserBlocks=self._parameters.blocks,
            numItemBlocks=self._parameters.blocks,
        )
        table = als.fit(weights).itemFactors.toArrow()
        features = table["features"].combine_chunks()
        return table["id"].to_numpy(), features.values.to_numpy().reshape(-1, parameters.factors)

    def _sent(self, likes: Likes, parameters: AlsParameters) -> DataFrame:
        """Returns user, item and weight of likes that are in memory: 12 bytes each, as Arrow columns."""
        matrix = likes.matrix
        per_user = np.diff(matrix.indptr)
        of_user = np.repeat(per_user, per_user)
        bm25 = Bm25.fit(matrix, parameters.bm25_k1, parameters.bm25_b)
        columns = {
            "user": np.repeat(np.arange(len(per_user), dtype=np.int32), per_user),
            "item": matrix.indices.astype(np.int32),
            "weight": bm25.weights(matrix.indices.astype(np.int64), matrix.data, of_user),
        }
        return self._session.createDataFrame(pa.table(columns))


def weighted(pairs: DataFrame, parameters: AlsParameters) -> DataFrame:
    """Returns user, item and weight: what `sources/bm25.Bm25` gives the likes of user, item and strength."""
    per_user = pairs.groupBy("user").agg(f.count("*").alias("likes_of_user"))
    per_item = pairs.groupBy("item").agg(f.count("*").alias("likes_of_item"))
    ((users, likes),) = per_user.agg(f.count("*"), f.sum("likes_of_user")).collect()
    k1, b = parameters.bm25_k1, parameters.bm25_b
    idf = f.greatest(f.lit(np.log(users)) - f.log1p("likes_of_item"), f.lit(MIN_IDF))
    norm = k1 * ((1 - b) + b * f.col("likes_of_user") / (likes / users))
    strength = f.col("strength").cast("double")
    return (
        pairs.join(per_user, "user")
        .join(per_item, "item")
        .select("user", "item", (strength * (k1 + 1) / (norm + strength) * idf).cast("float").alias("weight"))
    )
