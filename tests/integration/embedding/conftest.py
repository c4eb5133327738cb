from __future__ import annotations

import pytest
import pytest_asyncio
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as rpc

from services.embedding.bootstrap import build
from services.embedding.settings import EmbeddingSettings
from shared.testing.servers import served, wait_health

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
