from __future__ import annotations

import json
import subprocess
import sys

import pytest
from prometheus_client import REGISTRY

from shared.rpc.settings import ServerSettings, env_config
from shared.telemetry.stages import Stages
from shared.testing.processes import ROOT


def observed(stage: str) -> float:
    labels = {"service": "probe", "stage": stage}
    return REGISTRY.get_sample_value("fusionrec_stage_seconds_count", labels) or 0.0


def test_stages_are_kept_in_order_and_counted_also_when_they_raise():
    before = {name: observed(name) for name in ("first", "second", "third")}
    stages = Stages("probe")
    with stages.stage("first"):
        pass
    with pytest.raises(ZeroDivisionError), stages.stage("second"):
        _ = 1 / 0
    stages.add("third", 0.25, queue_s=0.5)
    assert [one.stage for one in stages.times] == ["first", "second", "third"]
    assert (stages.times[2].queue_us, stages.times[2].compute_us) == (500_000, 250_000)
    assert all(one.compute_us >= 0 for one in stages.times)
    assert {name: observed(name) - count for name, count in before.items()} == dict.fromkeys(before, 1)


LOGS = """
import structlog
from shared.telemetry.logs import configure_logs
configure_logs("ranker", level="INFO", json_lines=True)
log = structlog.get_logger("x")
structlog.contextvars.bind_contextvars(request_id="r1")
log.debug("not this")
log.info("loaded", items=3)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def test_logs_are_json_lines_on_standard_error():
    done = subprocess.run([sys.executable, "-c", LOGS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    loaded, failed = (json.loads(line) for line in done.stderr.splitlines())
    assert loaded["timestamp"].endswith("Z")
    assert {key: loaded[key] for key in ("service", "level", "event", "items", "request_id")} == {
        "service": "ranker", "level": "info", "event": "loaded", "items": 3, "request_id": "r1",
    }  # fmt: skip
    assert "ZeroDivisionError" in failed["exception"]


class OwnSettings(ServerSettings):
    model_config = env_config("OWN_")


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("OWN_PORT", "50099")
    monkeypatch.setenv("OWN_LOG_LEVEL", "DEBUG")
    settings = OwnSettings()
    assert (settings.port, settings.log_level, settings.host) == (50_099, "DEBUG", "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "value"),
    [("OWN_PORT", "70000"), ("OWN_PORT", "x"), ("OWN_MAX_CONCURRENT_RPCS", "0"), ("OWN_LOG_LEVEL", "LOUD")],
)
def test_bad_settings_are_refused_by_name(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name.removeprefix("OWN_").lower()):
        OwnSettings()


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        OwnSettings().port = 1
