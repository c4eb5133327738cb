"""Settings of the ingestion service, read from environment variables `INGESTION_*`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from shared.rpc.settings import ServerSettings, env_config

SQLITE_PREFIX = "sqlite:///"


class IngestionSettings(ServerSettings):
    """Where the log is kept and how much may wait to be written."""

    model_config = env_config("INGESTION_")

    port: int = Field(default=50_051, ge=0, le=65_535)
    """TCP port; 0 lets the system choose one (tests)."""
    metrics_port: int = Field(default=51_051, ge=0, le=65_535)
    """TCP port of the Prometheus metrics; 0 leaves them unserved."""
    store: str = "sqlite:///.fusionrec/ingestion/events.db"
    """The engine and where it keeps the log: `sqlite:///RELATIVE/PATH` or `sqlite:////ABSOLUTE/PATH`."""
    max_queued_rows: int = Field(default=100_000, ge=1_000)
    """Events and items that may wait for the writer; more are refused with RESOURCE_EXHAUSTED."""
    reader_threads: int = Field(default=4, ge=1, le=64)
    """Threads that read, each with a connection of its own."""
    open_retry_s: float = Field(default=2.0, gt=0)
    """Pause between attempts to open a store that is not usable, seconds; NOT_SERVING meanwhile."""

    @field_validator("store")
    @classmethod
    def _known_engine(cls, value: str) -> str:
        if not value.startswith(SQLITE_PREFIX) or value == SQLITE_PREFIX:
            raise ValueError("use sqlite:///RELATIVE/PATH or sqlite:////ABSOLUTE/PATH")
        return value

    @property
    def sqlite_path(self) -> Path:
        """The database file of a `sqlite:///` store."""
        return Path(self.store.removeprefix(SQLITE_PREFIX))
