"""Settings of the candidates service; environment variables with the prefix CANDIDATES_."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from services.candidates.index.parameters import IndexParameters
from services.candidates.live.answers import AnswerAges
from services.candidates.live.version import LiveLimits
from services.candidates.sources.als import ALS_TRIED
from services.candidates.sources.hyperparameters import (
    AlsParameters,
    ContentParameters,
    Hyperparameters,
    ItemItemParameters,
    ItemKnnParameters,
    RandomParameters,
    SequentialParameters,
    SparkAlsParameters,
    TextParameters,
    TrendingParameters,
    TwoTowerParameters,
    UserKnnParameters,
)
from services.candidates.sources.registry import NAMES
from services.candidates.sources.views import VIEW_NAMES
from shared.data.limits import MAX_CANDIDATES, MAX_HISTORY
from shared.data.preferences import PreferenceRules
from shared.rpc.settings import ServerSettings, env_config

DEFAULT_TRAINED = tuple(name for name in NAMES if name != "two_tower")
DEFAULT_ASKED = ("als", ALS_TRIED, "item_item", "user_knn", "sequential", "aligned_text", "popular", *VIEW_NAMES)


def names_in(value: str) -> tuple[str, ...]:
    """Returns the names of a comma-separated list."""
    return tuple(name.strip() for name in value.split(",") if name.strip())


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
    embedding_version: str = ""
    """Version of the encoder that training uses, as embedding's GetModelInfo lists them. Empty means the current one
    for what is served; for what is measured, one that has not seen the hidden events (docs/fine-tuning.md). What is
    served asks for the version that it was trained with."""
    artifacts: str = ".fusionrec/candidates/artifacts"
    """Folder or fsspec URL of the trained versions."""
    artifacts_poll_s: float = Field(default=0.5, gt=0)
    """How often to look for a new current version, seconds."""
    settle_s: float = Field(default=20.0, ge=0)
    """How long a new version may catch up with the log before it takes over all the same, seconds."""

    sources: str = ",".join(DEFAULT_TRAINED)
    """Sources that are trained, comma separated; als and aligned_text, which the vector spaces stand on, always are.
    "two_tower" is not among the usual ones: its training needs TensorFlow."""
    default_sources: str = ",".join(DEFAULT_ASKED)
    """Sources asked when a request names none, comma separated; those that the version lacks are left out."""
    merge: Literal["reciprocal_rank", "quotas"] = "reciprocal_rank"
    """How lists become one when a request does not say."""
    learn_quotas: bool = False
    """Learn how many places each source earns, with the stage `fit`: what merging by quotas needs."""
    per_source: int = Field(default=300, ge=1, le=MAX_CANDIDATES)
    """Items that each source proposes; more when that is too few for the asked k."""
    weights: dict[str, float] = Field(default={"item_item": 0.5, "aligned_text": 0.3, "popular": 0.15, "trending": 0.3})
    """What a source's places weigh in reciprocal rank fusion, a JSON object; 1 for those not named."""
    new_item_share: float = Field(default=0.05, ge=0, le=1)
    """Share of the asked places kept for items without events in the training data, where a source proposes such."""
    late_item_share: float = Field(default=0.1, ge=0, le=1)
    """The same for those of them that came after the training."""
    rrf_k: int = Field(default=60, ge=1)
    """Constant of reciprocal rank fusion."""
    pinned_versions: int = Field(default=3, ge=1)
    """Versions asked for by `model_version` that are kept in memory."""
    cached_profiles: int = Field(default=5_000, ge=1)
    """Users whose profile (folded-in vectors and the like, some 10 KB each) is kept in memory."""
    cached_answers: int = Field(default=2_000, ge=1)
    """Answers kept for the same question asked again: some 100 KB each where there are 300 candidates, fewer of longer
    ones."""
    answer_age_s: float = Field(default=0.5, ge=0, le=1)
    """How long an answer may be given again in any case, seconds; 0: never. The user's own events and deletions count
    at once, new and changed items after this time."""
    answer_age_unwritten_s: float = Field(default=30.0, ge=0, le=600)
    """How long an answer may be given again while no item is written and none becomes available or stops being so,
    seconds. Then only the likes of other users count after this time. With both 0 every answer is computed."""
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

    index: IndexParameters = IndexParameters()
    """Vector indexes."""
    als: AlsParameters = AlsParameters()
    """Matrix factorisation."""
    item_item: ItemItemParameters = ItemItemParameters()
    """Linear item-item model."""
    item_knn: ItemKnnParameters = ItemKnnParameters()
    """Item-based nearest neighbours."""
    user_knn: UserKnnParameters = UserKnnParameters()
    """User-based nearest neighbours."""
    sequential: SequentialParameters = SequentialParameters()
    """What follows the last items."""
    aligned_text: TextParameters = TextParameters()
    """Text and attributes mapped to the ALS space."""
    content: ContentParameters = ContentParameters()
    """Nearness by text alone."""
    trending: TrendingParameters = TrendingParameters()
    """Time-decayed number of likes."""
    random: RandomParameters = RandomParameters()
    """Random order."""
    two_tower: TwoTowerParameters = TwoTowerParameters()
    """Two towers."""
    spark_als: SparkAlsParameters = SparkAlsParameters()
    """Matrix factorisation by Spark."""
    spark_master: str = ""
    """Spark's master for `train --engine spark`: "local[2]", "k8s://…"; empty: spark-submit's, else this machine."""
    spark_conf: dict[str, str] = Field(default={})
    """Further properties of Spark, a JSON object."""
    keep_versions: int = Field(default=3, ge=1)
    """Trained versions of each protocol, stage and fold that stay in the store; older ones are deleted, but for the one
    that was current before."""
    seed: int = Field(default=Hyperparameters.seed, ge=0)
    """Seed of everything random in training."""

    @field_validator("sources", "default_sources")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        valid = NAMES if info.field_name == "sources" else (*NAMES, ALS_TRIED, *VIEW_NAMES)
        unknown = [name for name in names_in(value) if name not in valid]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no source: use {', '.join(valid)}")
        return value

    @property
    def trained_sources(self) -> tuple[str, ...]:
        """Names of the sources that are trained."""
        return names_in(self.sources)

    @property
    def asked_sources(self) -> tuple[str, ...]:
        """Names of the sources asked when a request names none."""
        return names_in(self.default_sources)

    @property
    def live_limits(self) -> LiveLimits:
        """What a live version may keep."""
        return LiveLimits(
            self.cached_profiles, self.cached_answers, AnswerAges(self.answer_age_s, self.answer_age_unwritten_s)
        )

    @property
    def rules(self) -> PreferenceRules:
        """How events become likes and dislikes."""
        return PreferenceRules(positive_rating=self.positive_rating, positive_play=self.positive_play)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Hyperparameters of the sources."""
        return Hyperparameters(
            als=self.als,
            item_item=self.item_item,
            item_knn=self.item_knn,
            user_knn=self.user_knn,
            sequential=self.sequential,
            text=self.aligned_text,
            content=self.content,
            trending=self.trending,
            random=self.random,
            two_tower=self.two_tower,
            spark_als=self.spark_als,
            seed=self.seed,
            threads=self.compute_threads,
        )
