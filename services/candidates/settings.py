"""Settings of the candidates service; environment variables with the prefix CANDIDATES_."""

from __future__ import annotations

from pydantic import Field

from services.candidates.sources.hyperparameters import (
    AlsParameters,
    Hyperparameters,
    ItemItemParameters,
    TextParameters,
)
from shared.data.limits import MAX_CANDIDATES, MAX_HISTORY
from shared.data.preferences import PreferenceRules
from shared.rpc.settings import ServerSettings, env_config


class CandidatesSettings(ServerSettings):
    """How candidates are found, kept live, and trained."""

    model_config = env_config("CANDIDATES_")

    port: int = Field(default=50_053, ge=0, le=65_535)
    """TCP port; 0 lets the system choose one (tests)."""
    metrics_port: int = Field(default=51_053, ge=0, le=65_535)
    """TCP port of the Prometheus metrics; 0 leaves them unserved."""
    ingestion_address: str = "127.0.0.1:50051"
    """Where the log and the histories are read."""
    embedding_address: str = "127.0.0.1:50052"
    """Where texts become vectors."""
    artifacts: str = ".fusionrec/candidates/artifacts"
    """Folder or fsspec URL of the trained versions."""
    artifacts_poll_s: float = Field(default=0.5, gt=0)
    """How often to look for a new current version, seconds."""
    settle_s: float = Field(default=20.0, ge=0)
    """How long a new version may catch up with the log before it takes over all the same, seconds."""

    per_source: int = Field(default=200, ge=1, le=MAX_CANDIDATES)
    """Items that each source proposes; more when that is too few for the asked k."""
    rrf_k: int = Field(default=60, ge=1)
    """Constant of reciprocal rank fusion."""
    pinned_versions: int = Field(default=3, ge=1)
    """Versions asked for by `model_version` that are kept in memory."""
    cached_users: int = Field(default=20_000, ge=1)
    """Histories kept in memory."""
    history_events: int = Field(default=1_000, ge=1, le=MAX_HISTORY)
    """Newest events that make up a stored history."""
    compute_threads: int = Field(default=2, ge=1)
    """Threads that answer and train."""

    positive_rating: float = 4.0
    """Ratings from this value on are positives."""
    positive_play: float = Field(default=0.5, ge=0, le=1)
    """Fractions played from this value on are positives."""

    als_factors: int = Field(default=AlsParameters.factors, ge=2, le=1_024)
    """Length of the ALS vectors."""
    als_regularization: float = Field(default=AlsParameters.regularization, gt=0)
    """L2 penalty of the ALS fit."""
    als_alpha: float = Field(default=AlsParameters.alpha, gt=0)
    """Confidence per BM25 weight."""
    als_iterations: int = Field(default=AlsParameters.iterations, ge=1)
    """Alternating passes of the ALS fit."""
    als_bm25_k1: float = Field(default=AlsParameters.bm25_k1, gt=0)
    """Saturation of a like's strength."""
    als_bm25_b: float = Field(default=AlsParameters.bm25_b, ge=0, le=1)
    """Normalisation by the number of the user's likes."""
    item_item_regularization: float = Field(default=ItemItemParameters.regularization, gt=0)
    """L2 penalty of the item-item model."""
    item_item_min_likes: int = Field(default=ItemItemParameters.min_likes, ge=1)
    """Items with fewer likes are not in the item-item model."""
    item_item_max_items: int = Field(default=ItemItemParameters.max_items, ge=2)
    """At most this many items are in the item-item model."""
    item_item_neighbours: int = Field(default=ItemItemParameters.neighbours, ge=1)
    """Weights kept per item."""
    text_regularization: float = Field(default=TextParameters.regularization, gt=0)
    """L2 penalty of the map from text to the ALS space."""
    text_masked_items: int = Field(default=TextParameters.masked_items, ge=0)
    """Items, the most liked, whose titles are embedded a second time without the rest, to learn what a title alone
    says. More helps items that come with nothing but a title, and takes time to embed."""
    keep_versions: int = Field(default=3, ge=1)
    """Trained versions of each protocol, stage and fold that stay in the store; older ones are deleted."""
    seed: int = Field(default=Hyperparameters.seed, ge=0)
    """Seed of everything random in training."""

    @property
    def rules(self) -> PreferenceRules:
        """How events become likes and dislikes."""
        return PreferenceRules(positive_rating=self.positive_rating, positive_play=self.positive_play)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Hyperparameters of the sources."""
        als = AlsParameters(
            self.als_factors,
            self.als_regularization,
            self.als_alpha,
            self.als_iterations,
            self.als_bm25_k1,
            self.als_bm25_b,
        )
        item_item = ItemItemParameters(
            self.item_item_regularization,
            self.item_item_min_likes,
            self.item_item_max_items,
            self.item_item_neighbours,
        )
        text = TextParameters(regularization=self.text_regularization, masked_items=self.text_masked_items)
        return Hyperparameters(als, item_item, text, self.seed, self.compute_threads)
