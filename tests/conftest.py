"""What several kinds of tests share: one running world a session."""

from __future__ import annotations

import pytest

from shared.testing.world import running_world


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
