"""Settings of the evaluator, from environment variables with the prefix `EVALUATOR_`."""

from __future__ import annotations

from pydantic import Field, field_validator

from services.evaluator.reports.report import HEADLINE_K
from shared.data.limits import MAX_METRIC_K
from shared.data.preferences import PreferenceRules
from shared.rpc.settings import ServerSettings, env_config


class EvaluatorSettings(ServerSettings):
    """How the evaluator serves, whom it measures, and by what rules."""

    model_config = env_config("EVALUATOR_")

    port: int = Field(default=50055, ge=0, le=65_535)
    """TCP port; 0 lets the system choose one (tests)."""
    metrics_port: int = Field(default=51055, ge=0, le=65_535)
    """TCP port of the Prometheus metrics; 0 leaves them unserved."""
    max_concurrent_rpcs: int = Field(default=8, ge=1)
    """Unary calls that may run at once; fewer than elsewhere, because one EvaluateRankings may bring 16 MiB."""
    ingestion_address: str = "127.0.0.1:50051"
    """Where the event log is read from, by the `run` job."""
    candidates_address: str = "127.0.0.1:50053"
    """The candidates service that is measured."""
    ranker_address: str = "127.0.0.1:50054"
    """The ranker service that is measured."""
    artifacts: str = ".fusionrec/evaluator/artifacts"
    """Where reports are kept, as artifacts of kind "report": a folder or an fsspec URL."""
    concurrency: int = Field(default=4, ge=1, le=64)
    """Calls over the served path that the job keeps in flight."""
    call_timeout_s: float = Field(default=30.0, gt=0)
    """Deadline of one call of the job, seconds."""
    ks: tuple[int, ...] = (10, 20)
    """Cut-offs of the metrics in a report, as JSON ("[10, 20]"). 10 must be among them: reports are compared by it."""
    experiments: str = ""
    """File of experiments (docs/experiments.md); empty: none. Read again when it changes."""
    experiments_poll_s: float = Field(default=1.0, gt=0)
    """How often the file of experiments is looked at, seconds."""
    positive_rating: float = 4.0
    """Ratings from this value on are relevant. Must be the same in candidates and ranker."""
    positive_play: float = Field(default=0.5, ge=0, le=1)
    """Fractions played from this value on are relevant. Must be the same in candidates and ranker."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random floor."""

    @field_validator("ks")
    @classmethod
    def _sorted_with_the_headline(cls, ks: tuple[int, ...]) -> tuple[int, ...]:
        if HEADLINE_K not in ks:
            raise ValueError(f"must contain {HEADLINE_K}: reports are compared by NDCG@{HEADLINE_K}")
        if min(ks) < 1 or max(ks) > MAX_METRIC_K:
            raise ValueError(f"each k must be in 1..{MAX_METRIC_K}")
        return tuple(sorted(set(ks)))

    @property
    def rules(self) -> PreferenceRules:
        """Which events count as relevant."""
        return PreferenceRules(positive_rating=self.positive_rating, positive_play=self.positive_play)
