"""Settings that every server has; each service's own settings class adds to these."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from shared.errors import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

S = TypeVar("S", bound=BaseSettings)

NESTED = "__"
"""Between a group of settings and the setting: CANDIDATES_ALS__FACTORS."""
WRONG_SETTINGS = 2
"""Exit code of a process whose environment variables do not make sense."""


def env_config(prefix: str) -> SettingsConfigDict:
    """Returns the configuration of a settings class read from environment variables with `prefix`."""
    return SettingsConfigDict(
        env_prefix=prefix,
        env_nested_delimiter=NESTED,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        env_parse_none_str="none",
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


def read_settings(settings: type[S]) -> S:
    """Returns the settings that the environment variables say.

    Raises:
        SystemExit: with `WRONG_SETTINGS`, after one message on standard error with every variable that is wrong, its
            value, and what would be right.

    """
    try:
        return settings()
    except ValidationError as error:
        lines = [_line(settings, one) for one in error.errors()]
    except SettingsError as error:
        # Not JSON where a list is wanted: pydantic-settings stops at the first and names the field alone.
        lines = list(_unreadable(settings)) or [str(error)]
    service = _prefix(settings).rstrip("_").lower()
    sys.stderr.write("".join(f"{service}: {line}\n" for line in lines))
    raise SystemExit(WRONG_SETTINGS)


def _line(settings: type[BaseSettings], error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return message
    field, *inside = error["loc"]
    names = [part for part in inside if isinstance(part, str)]
    variable = NESTED.join((_variable(settings, str(field)), *(name.upper() for name in names)))
    place = "".join(f"[{part}]" for part in inside if not isinstance(part, str))
    return (
        f"{variable} = '{shown(_values().get(variable, error['input']))}': {f'at {place}: ' if place else ''}{message}"
    )


def _unreadable(settings: type[BaseSettings]) -> Iterator[str]:
    source, values = EnvSettingsSource(settings), _values()
    for name, field in settings.model_fields.items():
        value = values.get(_variable(settings, name))
        if value is None or not source.field_is_complex(field):
            continue
        try:
            source.decode_complex_value(name, field, value)
        except ValueError as error:
            yield f"{_variable(settings, name)} = '{shown(value)}': not JSON: {error}"


def _variable(settings: type[BaseSettings], field: str) -> str:
    return f"{_prefix(settings)}{field}".upper()


def _prefix(settings: type[BaseSettings]) -> str:
    return settings.model_config.get("env_prefix", "")


def _values() -> dict[str, str]:
    # Names of variables are read without regard to case.
    return {name.upper(): value for name, value in os.environ.items()}
