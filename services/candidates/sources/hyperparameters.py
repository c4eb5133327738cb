"""Hyperparameters of the sources; the defaults are what was best on MovieLens (docs of the fields say of what)."""

from __future__ import annotations

from dataclasses import dataclass

SIMILARITIES = ("cosine", "adjusted_cosine")
"""Values of `ItemKnnParameters.similarity`."""


def _require(parameters: object, **least: float) -> None:
    for name, minimum in least.items():
        value = getattr(parameters, name)
        if not value >= minimum:  # a NaN is refused too
            raise ValueError(f"{name} is {value}: it must be at least {minimum}")


def _require_positive(parameters: object, *names: str) -> None:
    for name in names:
        value = getattr(parameters, name)
        if not value > 0:
            raise ValueError(f"{name} is {value}: it must be above 0")


@dataclass(frozen=True)
class AlsParameters:
    """Of the matrix factorisation."""

    factors: int = 64
    """Length of the item vectors."""
    regularization: float = 20.0
    """L2 penalty of both sides."""
    alpha: float = 1.0
    """Confidence per BM25 weight."""
    iterations: int = 15
    """Alternating passes."""
    tried_weight: float = 0.3
    """Strength in training of an event that is neither a like nor a DISLIKE (a low rating): it says what users take up.
    0: likes alone are learned from. A user is folded in by likes alone."""
    bm25_k1: float = 100.0
    """Saturation of a like's strength."""
    bm25_b: float = 0.5
    """Normalisation by the number of the user's likes, 0 to 1."""


@dataclass(frozen=True)
class SparkAlsParameters:
    """Of the matrix factorisation when Spark fits it, in place of `AlsParameters.regularization` and `.alpha`."""

    regularization: float = 0.05
    """L2 penalty per like of the user or item: MLlib multiplies it by their number."""
    alpha: float = 0.15
    """Confidence per BM25 weight, on top of the 1 that every pair of user and item has."""
    fold_in_regularization: float = 100.0
    """L2 penalty of a user's vector when it is folded in to the factors."""
    fold_in_alpha: float = 1.0
    """Confidence per BM25 weight in that."""
    blocks: int = 10
    """Parts that users and items are divided into, each a task; the same number gives the same factors."""


@dataclass(frozen=True)
class ItemItemParameters:
    """Of the linear item-item model: EASE where the catalogue fits, past it each item against its surroundings."""

    regularization: float = 120.0
    """L2 penalty (lambda of EASE)."""
    min_likes: int = 3
    """Items with fewer likes are left to the other sources."""
    max_items: int = 8_000
    """With more items than this the sparse model is fitted: EASE takes time cubic and memory square in them."""
    neighbours: int = 500
    """Weights kept of each liked item, the largest by absolute value."""
    max_megabytes: int = 2_048
    """Memory that a fit may take: EASE when it fits in, else what the sparse model keeps of the co-occurrences."""
    local_items: int = 50
    """Sparse model: items that speak for an item, those of the largest cosine."""
    local_regularization: float = 50.0
    """Sparse model: L2 penalty."""
    newest_likes: int = 1_000
    """Sparse model: likes of a user that count, the newest: pairs grow with their square."""

    def __post_init__(self) -> None:
        """Refuses what no fit can use; raises ValueError."""
        whole = ("min_likes", "max_items", "neighbours", "local_items", "newest_likes")
        _require(self, max_megabytes=0, **dict.fromkeys(whole, 1))
        _require_positive(self, "regularization", "local_regularization")


@dataclass(frozen=True)
class ItemKnnParameters:
    """Of item-based nearest neighbours."""

    similarity: str = "cosine"
    """"cosine", or "adjusted_cosine": each user's mean is taken off."""
    shrinkage: float = 5.0
    """Added to the denominator of the cosine: the larger, the less do a few common users say."""
    neighbours: int = 100
    """Nearest neighbours of an item that can speak for it."""
    max_targets: int = 2_000
    """Items that one liked item can speak for, the most similar: bounds the time of a call."""
    newest_likes: int = 1_000
    """Likes of a user that count, the newest: pairs grow with their square."""

    def __post_init__(self) -> None:
        """Refuses what no fit can use; raises ValueError."""
        if self.similarity not in SIMILARITIES:
            raise ValueError(f"similarity is {self.similarity!r}, not one of {', '.join(SIMILARITIES)}")
        _require(self, shrinkage=0, neighbours=1, max_targets=1, newest_likes=1)


@dataclass(frozen=True)
class UserKnnParameters:
    """Of user-based nearest neighbours."""

    searched: int = 100
    """Users that the index finds by their vectors; their likes are then compared one by one."""
    neighbours: int = 50
    """Users whose likes are added up, those of the largest cosine."""
    shrinkage: float = 20.0
    """Added to the denominator of the cosine: the larger, the less do a few common likes say."""
    amplification: float = 2.0
    """Power of the cosine that a neighbour's likes are weighted by."""
    newest_likes: int = 500
    """Likes of a neighbour that are kept, the newest."""
    min_likes: int = 3
    """Users become neighbours with this many likes."""
    max_live_users: int = 50_000
    """Users with likes from after the training that are kept, at most; those longest without a new one go first."""

    def __post_init__(self) -> None:
        """Refuses what no fit can use; raises ValueError."""
        whole = ("searched", "neighbours", "newest_likes", "min_likes", "max_live_users")
        _require(self, shrinkage=0, **dict.fromkeys(whole, 1))
        _require_positive(self, "amplification")


@dataclass(frozen=True)
class TextParameters:
    """Of the map from text and attributes to the ALS space."""

    regularization: float = 3.0
    """L2 penalty of the ridge."""
    masked_weight: float = 0.5
    """Weight of the copies of the training items that show only their title."""
    masked_items: int = 3_000
    """Training items, the most liked, that have such a copy: their titles are embedded a second time, alone."""
    neighbours: int = 5
    """Items with such a copy whose titles speak for an item with missing attributes."""
    sharpness: float = 15.0
    """Inverse temperature of the softmax over the neighbours' cosines."""
    neighbour_share: float = 0.5
    """What the neighbours add, times the share of the item's attributes that is missing."""
    max_words: int = 64
    """Categories and attribute words that become features, the most frequent."""
    max_numbers: int = 16
    """Numeric attributes that become features, the most frequent."""
    knots: int = 14
    """Knots of a numeric attribute's piecewise-linear features, at its quantiles."""


@dataclass(frozen=True)
class SequentialParameters:
    """Of the transitions between items."""

    window: int = 30
    """A like says something of this many likes of the same user after it (and before it)."""
    half_life: float = 12.0
    """Distance in likes that halves what it says."""
    gap_half_life_days: float = 365.0
    """Time between two likes that halves it as well, days."""
    backward: float = 0.3
    """Weight of what came before an item, relative to what came after: 0 to 1. Histories rated in one sitting, or
    imported, have an order that says little."""
    item_power: float = 0.4
    """Transitions from an item are divided by its number of likes to this power."""
    popularity_power: float = 0.4
    """Transitions to an item are divided by its number of likes to this power: 0 favours what is popular."""
    min_likes: int = 3
    """Items with fewer likes are left to the other sources."""
    neighbours: int = 200
    """Transitions kept per item, the largest."""
    last: int = 100
    """Newest likes of a user that are looked at."""
    recency_power: float = 0.7
    """The a-th newest like weighs a to the power of minus this."""
    recency_half_life_days: float = 3_650.0
    """Time before the user's newest like that halves a like's weight as well, days."""


@dataclass(frozen=True)
class TrendingParameters:
    """Of the time-decayed number of likes."""

    half_life_days: float = 30.0
    """Time that halves what a like counts, days."""


@dataclass(frozen=True)
class RandomParameters:
    """Of the random order."""

    period_s: float = 86_400.0
    """A user's order changes when a new period begins, seconds of unix time."""


@dataclass(frozen=True)
class ContentParameters:
    """Of nearness by text."""

    last: int = 200
    """Newest likes of a user that are looked at."""
    half_life: float = 40.0
    """Number of newer likes that halves a like's weight."""


@dataclass(frozen=True)
class TwoTowerParameters:
    """Of the two towers, and of their training."""

    dim: int = 64
    """Length of the vectors of users and items."""
    hidden: int = 128
    """Units of each tower's hidden layer."""
    text_components: int = 64
    """Principal components kept of the language model's vectors."""
    history: int = 64
    """Likes of a user that count, the newest."""
    half_life: float = 20.0
    """Newer likes after which a like counts half."""
    temperature: float = 0.1
    """Of the softmax over the inner products."""
    id_dropout: float = 0.3
    """Share of the items that a step shows without their id, 0 to 1: as if they were new."""
    dropout: float = 0.2
    """Share of the hidden units that a step leaves out, 0 to 1."""
    table_penalty: float = 1e-3
    """L2 penalty of the id embeddings."""
    weight_penalty: float = 0.0
    """L2 penalty of the layers."""
    first_spread: float = 0.05
    """Standard deviation of the first id embeddings."""
    learning_rate: float = 2e-3
    """Of the layers (Adam); it falls to 0 along a cosine, and so does the next."""
    table_learning_rate: float = 0.05
    """Of the id embeddings (Adagrad)."""
    batch: int = 1_024
    """Likes in a step, about: each is ranked among the items of all."""
    window: int = 32
    """Likes of one user in a step, at most."""
    epochs: int = 20
    """Passes over the likes, at most."""
    max_examples: int = 20_000_000
    """Likes seen in all passes together, at most; at least one pass is made."""
    judged_share: float = 0.2
    """Share of the users whose last likes are kept from the training, to see when it should end."""
    patience: int = 4
    """Passes without improvement after which it ends."""


@dataclass(frozen=True)
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
