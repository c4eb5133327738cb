"""Hyperparameters of the sources; the defaults are what was best on MovieLens (docs of the fields say of what)."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid")
"""A parameter that does not exist is a typing error."""


@dataclass(frozen=True, config=STRICT)
class AlsParameters:
    """Of the matrix factorisation."""

    factors: int = Field(default=64, ge=2, le=1_024)
    """Length of the item vectors."""
    regularization: float = Field(default=20.0, gt=0)
    """L2 penalty of both sides."""
    regularization_power: float = Field(default=0.0, ge=-1, le=1)
    """The penalty of a user or item grows with this power of its number of likes; its mean over those with likes stays
    `regularization`. 0: the same for all. On MovieLens' validation split, each with its best penalty, powers above 0
    were worse, and what -0.25 gained in NDCG@10 was within noise."""
    alpha: float = Field(default=1.0, gt=0)
    """Confidence per BM25 weight."""
    iterations: int = Field(default=15, ge=1)
    """Alternating passes."""
    tried_weight: float = Field(default=0.3, ge=0)
    """Strength in training of an event that is neither a like nor a DISLIKE (a low rating): it says what users take up.
    0: likes alone are learned from. A user is folded in by likes alone."""
    bm25_k1: float = Field(default=100.0, gt=0)
    """Saturation of a like's strength."""
    bm25_b: float = Field(default=0.5, ge=0, le=1)
    """Normalisation by the number of the user's likes, 0 to 1."""


@dataclass(frozen=True, config=STRICT)
class SparkAlsParameters:
    """Of the matrix factorisation when Spark fits it, in place of `regularization`, its power, and `alpha`."""

    regularization: float = Field(default=0.05, gt=0)
    """L2 penalty per like of the user or item: MLlib multiplies it by their number."""
    alpha: float = Field(default=0.15, gt=0)
    """Confidence per BM25 weight, on top of the 1 that every pair of user and item has."""
    fold_in_regularization: float = Field(default=100.0, gt=0)
    """L2 penalty of a user's vector when it is folded in to the factors."""
    fold_in_alpha: float = Field(default=1.0, gt=0)
    """Confidence per BM25 weight in that."""
    blocks: int = Field(default=10, ge=1)
    """Parts that users and items are divided into, each a task; the same number gives the same factors."""


@dataclass(frozen=True, config=STRICT)
class ItemItemParameters:
    """Of the linear item-item model: EASE where the catalogue fits, past it each item against its surroundings."""

    regularization: float = Field(default=120.0, gt=0)
    """L2 penalty (lambda of EASE)."""
    min_likes: int = Field(default=3, ge=1)
    """Items with fewer likes are left to the other sources."""
    max_items: int = Field(default=8_000, ge=1)
    """With more items than this the sparse model is fitted: EASE takes time cubic and memory square in them."""
    neighbours: int = Field(default=500, ge=1)
    """Weights kept of each liked item, the largest by absolute value."""
    max_megabytes: int = Field(default=2_048, ge=0)
    """Memory that a fit may take: EASE when it fits in, else what the sparse model keeps of the co-occurrences."""
    local_items: int = Field(default=50, ge=1)
    """Sparse model: items that speak for an item, those of the largest cosine."""
    local_regularization: float = Field(default=50.0, gt=0)
    """Sparse model: L2 penalty."""
    newest_likes: int = Field(default=1_000, ge=1)
    """Sparse model: likes of a user that count, the newest: pairs grow with their square."""


@dataclass(frozen=True, config=STRICT)
class ItemKnnParameters:
    """Of item-based nearest neighbours."""

    similarity: Literal["cosine", "adjusted_cosine"] = "cosine"
    """"cosine", or "adjusted_cosine": each user's mean is taken off."""
    shrinkage: float = Field(default=5.0, ge=0)
    """Added to the denominator of the cosine: the larger, the less do a few common users say."""
    neighbours: int = Field(default=100, ge=1)
    """Nearest neighbours of an item that can speak for it."""
    max_targets: int = Field(default=2_000, ge=1)
    """Items that one liked item can speak for, the most similar: bounds the time of a call."""
    newest_likes: int = Field(default=1_000, ge=1)
    """Likes of a user that count, the newest: pairs grow with their square."""


@dataclass(frozen=True, config=STRICT)
class UserKnnParameters:
    """Of user-based nearest neighbours."""

    searched: int = Field(default=70, ge=1)
    """Users that the index finds by their vectors; their likes are then compared one by one."""
    neighbours: int = Field(default=50, ge=1)
    """Users whose likes are added up, those of the largest cosine."""
    shrinkage: float = Field(default=20.0, ge=0)
    """Added to the denominator of the cosine: the larger, the less do a few common likes say."""
    amplification: float = Field(default=2.0, gt=0)
    """Power of the cosine that a neighbour's likes are weighted by."""
    newest_likes: int = Field(default=500, ge=1)
    """Likes of a neighbour that are kept, the newest."""
    min_likes: int = Field(default=3, ge=1)
    """Users become neighbours with this many likes."""
    tried_weight: float = Field(default=0.3, ge=0, lt=1)
    """Strength of an item that was only tried (see `AlsParameters.tried_weight`), of the user and, as far as training
    saw them, of the others; it counts as a like for the other parameters. 0: likes alone count. On MovieLens'
    validation split recall at 300 is .649 instead of .630, NDCG@10 .090 instead of .095."""
    max_live_users: int = Field(default=50_000, ge=1)
    """Users with likes from after the training that are kept, at most; those longest without a new one go first."""


@dataclass(frozen=True, config=STRICT)
class TextParameters:
    """Of the map from text and attributes to the ALS space."""

    regularization: float = Field(default=3.0, gt=0)
    """L2 penalty of the ridge."""
    softmax_steps: int = Field(default=12, ge=0)
    """Steps after the ridge that move the map to rank the items that users like before the others; 0: ridge alone."""
    temperature: float = Field(default=0.1, gt=0)
    """Of the softmax in those steps, over the inner products of users and items."""
    pull: float = Field(default=300.0, ge=0)
    """L2 penalty in those steps on the distance from what the ridge found."""
    masked_weight: float = Field(default=0.5, ge=0)
    """Weight of the copies of the training items that show only their title."""
    masked_items: int = Field(default=3_000, ge=0)
    """Training items, the most liked, that have such a copy: their titles are embedded a second time, alone."""
    neighbours: int = Field(default=5, ge=0)
    """Items with such a copy whose titles speak for an item with missing attributes."""
    sharpness: float = Field(default=15.0, gt=0)
    """Inverse temperature of the softmax over the neighbours' cosines."""
    neighbour_share: float = Field(default=0.5, ge=0)
    """What the neighbours add, times the share of the item's attributes that is missing."""
    max_words: int = Field(default=64, ge=0)
    """Categories and attribute words that become features, the most frequent."""
    max_numbers: int = Field(default=16, ge=0)
    """Numeric attributes that become features, the most frequent."""
    knots: int = Field(default=14, ge=2)
    """Knots of a numeric attribute's piecewise-linear features, at its quantiles."""


@dataclass(frozen=True, config=STRICT)
class SequentialParameters:
    """Of the transitions between items."""

    window: int = Field(default=30, ge=1)
    """A like says something of this many likes of the same user after it (and before it)."""
    half_life: float = Field(default=12.0, gt=0)
    """Distance in likes that halves what it says."""
    gap_half_life_days: float = Field(default=365.0, gt=0)
    """Time between two likes that halves it as well, days."""
    backward: float = Field(default=0.3, ge=0, le=1)
    """Weight of what came before an item, relative to what came after: 0 to 1. Histories rated in one sitting, or
    imported, have an order that says little."""
    item_power: float = Field(default=0.4, ge=0)
    """Transitions from an item are divided by its number of likes to this power."""
    popularity_power: float = Field(default=0.4, ge=0)
    """Transitions to an item are divided by its number of likes to this power: 0 favours what is popular."""
    min_likes: int = Field(default=3, ge=1)
    """Items with fewer likes are left to the other sources."""
    neighbours: int = Field(default=200, ge=1)
    """Transitions kept per item, the largest."""
    last: int = Field(default=100, ge=1)
    """Newest likes of a user that are looked at."""
    recency_power: float = Field(default=0.7, ge=0)
    """The a-th newest like weighs a to the power of minus this."""
    recency_half_life_days: float = Field(default=3_650.0, gt=0)
    """Time before the user's newest like that halves a like's weight as well, days."""
    tried_weight: float = Field(default=0.3, ge=0, lt=1)
    """Strength of an item that was only tried (see `AlsParameters.tried_weight`) in the history that is continued; in
    training it is an item of the sequence as any other. 0: likes alone count. On MovieLens' validation split recall at
    300 is .652 instead of .636, NDCG@10 .112 instead of .115."""


@dataclass(frozen=True, config=STRICT)
class TrendingParameters:
    """Of the time-decayed number of likes."""

    half_life_days: float = Field(default=30.0, gt=0)
    """Time that halves what a like counts, days."""


@dataclass(frozen=True, config=STRICT)
class RandomParameters:
    """Of the random order."""

    period_s: float = Field(default=86_400.0, gt=0)
    """A user's order changes when a new period begins, seconds of unix time."""


@dataclass(frozen=True, config=STRICT)
class ContentParameters:
    """Of nearness by text."""

    last: int = Field(default=200, ge=1)
    """Newest likes of a user that are looked at."""
    half_life: float = Field(default=40.0, gt=0)
    """Number of newer likes that halves a like's weight."""


@dataclass(frozen=True, config=STRICT)
class TwoTowerParameters:
    """Of the two towers, and of their training."""

    dim: int = Field(default=64, ge=2)
    """Length of the vectors of users and items."""
    hidden: int = Field(default=128, ge=1)
    """Units of each tower's hidden layer."""
    text_components: int = Field(default=64, ge=1)
    """Principal components kept of the language model's vectors."""
    history: int = Field(default=64, ge=1)
    """Likes of a user that count, the newest."""
    half_life: float = Field(default=20.0, gt=0)
    """Newer likes after which a like counts half."""
    temperature: float = Field(default=0.1, gt=0)
    """Of the softmax over the inner products."""
    id_dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of the items that a step shows without their id, 0 to 1: as if they were new."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of the hidden units that a step leaves out, 0 to 1."""
    table_penalty: float = Field(default=1e-3, ge=0)
    """L2 penalty of the id embeddings."""
    weight_penalty: float = Field(default=0.0, ge=0)
    """L2 penalty of the layers."""
    first_spread: float = Field(default=0.05, gt=0)
    """Standard deviation of the first id embeddings."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Of the layers (Adam); it falls to 0 along a cosine, and so does the next."""
    table_learning_rate: float = Field(default=0.05, gt=0)
    """Of the id embeddings (Adagrad)."""
    batch: int = Field(default=1_024, ge=1)
    """Likes in a step, about: each is ranked among the items of all."""
    window: int = Field(default=32, ge=1)
    """Likes of one user in a step, at most."""
    epochs: int = Field(default=20, ge=1)
    """Passes over the likes, at most."""
    max_examples: int = Field(default=20_000_000, ge=1)
    """Likes seen in all passes together, at most; at least one pass is made."""
    judged_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of the users whose last likes are kept from the training, to see when it should end."""
    patience: int = Field(default=4, ge=1)
    """Passes without improvement after which it ends."""


@dataclass(frozen=True, config=STRICT)
class Hyperparameters:
    """Of all sources."""

    als: AlsParameters = AlsParameters()
    item_item: ItemItemParameters = ItemItemParameters()
    text: TextParameters = TextParameters()
    seed: int = 7
    """Seed of everything random in training."""
    threads: int = 2
    """Threads of the ALS fit."""
    sequential: SequentialParameters = SequentialParameters()
    trending: TrendingParameters = TrendingParameters()
    random: RandomParameters = RandomParameters()
    two_tower: TwoTowerParameters = TwoTowerParameters()
    content: ContentParameters = ContentParameters()
    item_knn: ItemKnnParameters = ItemKnnParameters()
    user_knn: UserKnnParameters = UserKnnParameters()
    spark_als: SparkAlsParameters = SparkAlsParameters()
