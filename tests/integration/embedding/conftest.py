from __future__ import annotations

import pytest
import pytest_asyncio
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as rpc

from services.embedding.bootstrap import build
from services.embedding.settings import EmbeddingSettings
from shared.testing.servers import served, wait_health
from shared.testing.tiny_encoder import write_tiny_encoder

from . import finetuning

# TensorFlow starts once for all tests of the session; under load that may take a while.
START_TIMEOUT_S = 240


@pytest.fixture(scope="session")
def settings():
    """Two compiled shapes, so that both ways of computing are used and the start stays short."""
    return EmbeddingSettings(port=0, metrics_port=0, xla_shapes=((1, 16), (32, 16)))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(settings):
    async with served(build(settings), settings, "embedding", ready=False) as running:
        await wait_health(running.channel, timeout_s=START_TIMEOUT_S)
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stub(service):
    return rpc.EmbeddingServiceStub(service.channel)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Returns the folder of a tiny encoder with random weights."""
    return write_tiny_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def tiny_settings(tiny):
    return finetuning.tiny_settings(tiny)


@pytest.fixture(scope="session")
def corpus():
    return finetuning.tastes()
