"""Wrong environment variables: exit code 2 and a message that names the variable, whatever the service."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field, model_validator

from shared.rpc.settings import ServerSettings, env_config, read_settings

ROOT = Path(__file__).resolve().parents[3]
RUNS = [
    ("ingestion", "serve"),
    ("embedding", "serve"),
    ("candidates", "serve"),
    ("candidates", "train --protocol warm"),
    ("ranker", "serve"),
    ("ranker", "train --protocol warm"),
    ("evaluator", "serve"),
    ("evaluator", "run"),
]


class Sample(ServerSettings):
    """Settings of every kind."""

    model_config = env_config("SAMPLE_")

    rate: float = Field(default=0.5, ge=0, le=1)
    """A share."""
    sizes: tuple[int, ...] = (1, 2)
    """Sizes."""
    low: int = 1
    """At most `high`."""
    high: int = 2
    """At least `low`."""

    @model_validator(mode="after")
    def _in_order(self) -> Sample:
        if self.low > self.high:
            raise ValueError("SAMPLE_LOW must not be above SAMPLE_HIGH")
        return self


def refusal(capsys) -> str:
    with pytest.raises(SystemExit) as exit_:
        read_settings(Sample)
    assert exit_.value.code == 2
    return capsys.readouterr().err


def test_good_variables_are_read(monkeypatch):
    monkeypatch.setenv("SAMPLE_RATE", "0.25")
    monkeypatch.setenv("SAMPLE_SIZES", "[3, 4]")
    settings = read_settings(Sample)
    assert (settings.rate, settings.sizes) == (0.25, (3, 4))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SAMPLE_PORT", "99999", "SAMPLE_PORT = '99999': Input should be less than or equal to 65535"),
        ("sample_port", "99999", "SAMPLE_PORT = '99999': Input should be less than or equal to 65535"),
        ("SAMPLE_RATE", "often", "SAMPLE_RATE = 'often': Input should be a valid number"),
        ("SAMPLE_SIZES", '[1, "x"]', "SAMPLE_SIZES = '[1, \"x\"]': at [1]: Input should be a valid integer"),
        ("SAMPLE_SIZES", "1, 2", "SAMPLE_SIZES = '1, 2': not JSON: "),
        ("SAMPLE_LOW", "3", "SAMPLE_LOW must not be above SAMPLE_HIGH"),
        (
            "SAMPLE_LOG_LEVEL",
            "loud",
            "SAMPLE_LOG_LEVEL = 'loud': Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
        ),
    ],
)
def test_a_wrong_variable_is_named_with_its_value(monkeypatch, capsys, name, value, message):
    monkeypatch.setenv(name, value)
    said = refusal(capsys)
    assert said.startswith(f"sample: {message}")
    assert said.count("\n") == 1


def test_all_that_are_wrong_are_named(monkeypatch, capsys):
    monkeypatch.setenv("SAMPLE_PORT", "-1")
    monkeypatch.setenv("SAMPLE_RATE", "2")
    lines = refusal(capsys).splitlines()
    assert [line.split(" = ")[0] for line in lines] == ["sample: SAMPLE_PORT", "sample: SAMPLE_RATE"]


def test_every_service_and_job_ends_with_the_variable_and_no_traceback():
    env = {**os.environ, **{f"{service.upper()}_PORT": "99999" for service, _ in RUNS}}
    for service, arguments in RUNS:
        run = subprocess.run(
            [sys.executable, "-m", f"services.{service}", *arguments.split()],
            env=env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        wanted = f"{service}: {service.upper()}_PORT = '99999': Input should be less than or equal to 65535\n"
        assert (run.returncode, run.stderr) == (2, wanted)
