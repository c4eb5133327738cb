"""Settings that every server has; each service's own settings class adds to these."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def env_config(prefix: str) -> SettingsConfigDict:
    """Returns the configuration of a settings class read from environment variables with `prefix`."""
    return SettingsConfigDict(
        env_prefix=prefix, frozen=True, extra="forbid", use_attribute_docstrings=True, env_parse_none_str="none"
    )


class ServerSettings(BaseSettings):
    """How a server listens, admits, drains and logs."""

    model_config = env_config("")

    host: str = "127.0.0.1"
    """Interface to listen on."""
    port: int = Field(default=0, ge=0, le=65_535)
    """TCP port; 0 lets the system choose one (tests)."""
    metrics_port: int = Field(default=0, ge=0, le=65_535)
    """TCP port of the Prometheus metrics; 0 leaves them unserved."""
    max_concurrent_rpcs: int = Field(default=256, ge=1)
    """Unary calls that may run at once; more are refused with RESOURCE_EXHAUSTED."""
    max_streams: int = Field(default=64, ge=1)
    """Streams that may be open at once."""
    default_timeout_s: float = Field(default=30.0, gt=0)
    """Deadline of a unary call whose client set none, seconds."""
    grace_s: float = Field(default=10.0, ge=0)
    """Time that running calls get to finish after SIGTERM, seconds."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level that is logged."""
    log_json: bool = True
    """JSON lines; false for columns that people read."""
