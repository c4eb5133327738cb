"""What several kinds of tests share: one running world a session."""

from __future__ import annotations

import os

# As the ranker's own processes do, before numpy is imported: on a busy machine threads of small products wait for each
# other, twenty times as long as the products take.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from xdist.scheduler import LoadScopeScheduling

from shared.testing.world import running_world

TOGETHER = {
    "world": ("tests/e2e/serving/", "tests/integration/evaluator/", "tests/integration/ranker/", "tests/load/"),
    "command": ("tests/e2e/cli/", "tests/integration/cli/", "tests/unit/cli/"),
    "encoders": ("tests/contract/embedding/", "tests/integration/embedding/", "tests/wire/embedding/"),
}
"""Folders whose tests run in one process: they share the running five services, look for free ports from the same
number on, or wait for TensorFlow and its models once."""


class ByRoom(LoadScopeScheduling):
    """Gives each process whole files, and of the folders in `TOGETHER` all."""

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return next((name for name, folders in TOGETHER.items() if file.startswith(folders)), file)


def pytest_xdist_make_scheduler(config, log):
    return ByRoom(config, log)


@pytest.fixture(autouse=True)
def logs_as_they_are(monkeypatch):
    """A command that runs in the tests' process would send all later logs to its test's standard error."""
    monkeypatch.setattr("shared.telemetry.logs.configure_logs", lambda *_arguments, **_options: None)


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The five services with a slice of MovieLens; trained or not, as the tests before have left it."""
    with running_world(tmp_path_factory.mktemp("world")) as running:
        yield running


@pytest.fixture(scope="session")
def trained(world):
    """The world, with the warm protocol trained: what users are served."""
    world.train("warm")
    world.wait_trained()
    return world
