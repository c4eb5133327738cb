"""Settings of the ranker, from environment variables with the prefix `RANKER_`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from services.ranker.training.negatives import Negatives
from shared.data.limits import MAX_CANDIDATES, MAX_HISTORY
from shared.data.preferences import PreferenceRules
from shared.rpc.settings import ServerSettings, env_config


def names_in(value: str) -> list[str]:
    """Returns the names of a comma-separated list."""
    return [name.strip() for name in value.split(",") if name.strip()]


class RankerSettings(ServerSettings):
    """How the ranker finds its neighbours, how long it waits for them, and what it does by default."""

    model_config = env_config("RANKER_")

    port: int = Field(default=50_054, ge=0, le=65_535)
    """TCP port; 0 lets the system choose one (tests)."""
    metrics_port: int = Field(default=51_054, ge=0, le=65_535)
    """TCP port of the Prometheus metrics; 0 leaves them unserved."""
    ingestion_address: str = "127.0.0.1:50051"
    """Address of ingestion: histories, the log, impressions."""
    embedding_address: str = "127.0.0.1:50052"
    """Address of embedding: text profiles and item vectors."""
    embedding_version: str = ""
    """Version of the encoder that training uses, as embedding's GetModelInfo lists them; empty means those of the
    candidates versions that it is trained on. What is served asks for the version that it was trained with."""
    candidates_address: str = "127.0.0.1:50053"
    """Address of candidates."""
    experiment: str = ""
    """Experiment of the evaluator's that assigns the variant of requests which name none; empty: no experiment."""
    evaluator_address: str = "127.0.0.1:50055"
    """Address of the evaluator; asked for assignments of `experiment` alone."""
    assignment_timeout_s: float = Field(default=0.1, gt=0)
    """Longest wait for an assignment, seconds; then the default variant answers, and the reply says so."""
    assignment_age_s: float = Field(default=60.0, ge=0)
    """How long an assignment is used before the evaluator is asked anew, seconds."""
    assigned_users: int = Field(default=100_000, ge=1)
    """Users whose assignments are kept in memory."""
    artifacts: str = ".fusionrec/ranker/artifacts"
    """Folder or fsspec URL of the ranker's artifacts."""
    artifacts_poll_s: float = Field(default=0.5, gt=0)
    """How often CURRENT is looked at, seconds."""
    loaded_versions: int = Field(default=4, ge=1, le=64)
    """Pinned versions that stay in memory besides the current one; the least recently used is dropped."""
    keep_versions: int = Field(default=3, ge=1)
    """Versions of each protocol and stage that the training job leaves in the store; older ones are deleted, but for
    the one that was current before."""

    candidates: int = Field(default=350, ge=1, le=MAX_CANDIDATES)
    """Candidates asked for per request; more when k needs them."""
    history_limit: int = Field(default=MAX_HISTORY, ge=1, le=MAX_HISTORY)
    """Newest events of a user that are read: what is older is neither counted nor hidden as seen."""
    profile_texts: int = Field(default=20, ge=1, le=100)
    """Texts of a text profile at most: newest liked items and the user's own reviews."""
    default_variant: str = ""
    """Fusion used when a request names none; empty: the one that the training job found best."""
    default_diversity: float = Field(default=0.0, ge=0, le=1)
    """Diversity when a request sets none."""
    exploration_temperature: float = Field(default=0.25, gt=0, le=10)
    """Spread of exploration, in standard deviations of the candidates' scores."""
    exploration_method: Literal["plackett_luce", "thompson"] = "plackett_luce"
    """How `explore` moves items when neither the request nor the rules file says."""
    exploration_learns: bool = False
    """Whether impressions and what came of them are read from the log: what Thompson sampling needs."""
    exploration_impressions: int = Field(default=200_000, ge=1)
    """Newest impressions in memory that outcomes are joined to."""
    rules: str = ""
    """Rules file (docs/rules.md); empty: none. Read again when it changes."""
    rules_poll_s: float = Field(default=1.0, gt=0)
    """How often the rules file is looked at, seconds."""
    new_item_every: int = Field(default=10, ge=1)
    """One of this many places is kept for a new item that fits."""
    new_item_top_share: float = Field(default=0.03, gt=0, le=1)
    """A new item fits when it is among this share of the catalogue by the aligned_text source, for this user."""
    batch_concurrency: int = Field(default=8, ge=1, le=100)
    """Requests of one BatchRecommend that run at once."""

    history_timeout_s: float = Field(default=0.5, gt=0)
    """Longest wait for a user's history, seconds."""
    embedding_timeout_s: float = Field(default=1.0, gt=0)
    """Longest wait for a text profile, seconds."""
    candidates_timeout_s: float = Field(default=2.0, gt=0)
    """Longest wait for candidates, seconds."""
    deadline_share: float = Field(default=0.6, gt=0, le=1)
    """Share of the time that is left which one neighbour may use: what remains is for a fall-back."""

    breaker_failures: int = Field(default=3, ge=0)
    """Calls in a row that a neighbour leaves hanging before it is not asked any more; 0: it always is."""
    breaker_patience_s: float = Field(default=0.25, gt=0)
    """A call that fails after this time, or after the neighbour's longest wait when that is shorter, was left hanging.
    Callers with less time to give say nothing of the neighbour."""
    breaker_open_s: float = Field(default=2.0, gt=0)
    """How long a neighbour that hangs is not asked before one call tries it again, seconds."""

    reply_cache_s: float = Field(default=60.0, ge=0)
    """How long an answer is given again while nothing of its user changes at most, seconds, and half of it at least;
    0: never. Half a second where an item was written in the last ten."""
    reply_cache_results: int = Field(default=200_000, ge=0)
    """Results of kept answers in memory at most, 1 to 2 KB each with the evidence of 6 to 13 sources; ids that their
    requests exclude, block or pin count as well. The least recently used answers are dropped."""

    sentence_model: str = ""
    """Language model that writes the sentences of explanations: a GGUF file, or `package:NAME` for the one that an
    installed package ships; empty: sentences from templates. Needs llama-cpp-python (`fusionrec[ranker-sentences]`)."""
    sentence_s: float = Field(default=1.5, gt=0)
    """Time that the sentences of one answer may take, seconds; results beyond it keep the template's, and `degraded`
    names `sentences`. On a small machine one sentence may take longer than that: give it more."""
    sentence_threads: int = Field(default=1, ge=1, le=64)
    """Processor threads of the language model that writes sentences."""

    known_histories: int = Field(default=2_000, ge=1)
    """Last known histories in memory, for when ingestion does not answer."""
    impression_queue: int = Field(default=10_000, ge=1)
    """Impressions that may wait to be written; more are dropped and counted."""
    max_items: int = Field(default=2_000_000, ge=1)
    """Items kept in memory at most; later ones are counted and left out."""
    popularity_events: int = Field(default=5_000_000, ge=1)
    """Positive events kept for popularity in a period of time; the oldest are dropped."""
    warm_timeout_s: float = Field(default=20.0, ge=0)
    """Longest wait for the log to be read before SERVING, seconds."""

    fusions: str = "dot,linear,gbdt,ensemble"
    """Fusion functions that the training job trains, comma separated: dot, linear, svm, svm_rbf, gbdt, deep, ensemble.
    The ensemble is made of the others but dot. The usual ones take seconds; "deep" needs TensorFlow (the extra
    ranker-deep) and minutes."""
    checkpoints: str = ".fusionrec/ranker/checkpoints"
    """Folder where a training keeps what lets it go on after it was killed; empty: nowhere. Removed at its end."""
    training_threads: int = Field(default=1, ge=1)
    """Threads of the libraries that train. More than one only where cores are free: LightGBM's wait for each other."""
    training_lists: int = Field(default=2_000, ge=50)
    """Lists that the training job learns from at most, drawn evenly from every fold and kind."""
    impression_lists: int = Field(default=2_000, ge=0)
    """Lists that the training job learns from impressions and what came of them at most, the newest; 0: none."""
    impression_window_s: float = Field(default=604_800, gt=0)
    """What a user does about an impression within this time counts as what came of it, seconds."""
    negatives_per_list: int = Field(default=100, ge=1, le=MAX_CANDIDATES)
    """Candidates of a list that were not liked, and that the training job learns from, at most."""
    hard_negatives: float = Field(default=0.0, ge=0, le=1)
    """Share of these that are taken from the front of the merged candidates; the others are drawn from all."""
    negatives_popularity: float = Field(default=0.0, ge=0, le=2)
    """The others are drawn with a chance in proportion to (1 + positives) to the power of minus this; 0: evenly."""
    positive_rating: float = 4.0
    """Ratings from this value on are positives."""
    positive_play: float = Field(default=0.5, ge=0, le=1)
    """Fractions played from this value on are positives."""

    @model_validator(mode="after")
    def _check_exploration(self) -> Self:
        if self.exploration_method == "thompson" and not self.exploration_learns:
            raise ValueError("RANKER_EXPLORATION_METHOD = 'thompson' needs RANKER_EXPLORATION_LEARNS = 'true'")
        return self

    @property
    def negatives(self) -> Negatives:
        """Which of a list's other items are learned from."""
        return Negatives(self.negatives_per_list, self.hard_negatives, self.negatives_popularity)

    @property
    def preferences(self) -> PreferenceRules:
        """How events become signals."""
        return PreferenceRules(positive_rating=self.positive_rating, positive_play=self.positive_play)
