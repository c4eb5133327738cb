"""What several kinds of tests share: one running world a session."""

from __future__ import annotations

import pytest

from shared.testing.world import running_world

WORLD = {"world", "trained"}
"""Fixtures of the running five services: the tests that use them share them, so they run in one process."""


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item):
    """Returns the name of the tests that run in one process: what they share is then made once."""
    if not WORLD.isdisjoint(getattr(item, "fixturenames", ())):
        return "world"
    return "embedding" if "embedding" in item.path.parts else str(item.path)


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
