"""A world of its own, trained for all three protocols: figures must come from nothing but the slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fusionrec.channel import connect

from shared.data.splits import Protocol
from shared.testing.world import running_world

if TYPE_CHECKING:
    import grpc


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    with running_world(tmp_path_factory.mktemp("world")) as running:
        yield running


@pytest.fixture(scope="session")
def trained(world):
    for protocol in Protocol:
        world.train(protocol)
    return world


@pytest.fixture
def open_channel(world):
    def build(service) -> grpc.Channel:
        channel = connect(world.address(service))
        opened.append(channel)
        return channel

    opened: list[grpc.Channel] = []
    yield build
    for channel in opened:
        channel.close()
