from __future__ import annotations

import contextlib

import pytest
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as pb_grpc

from services.ingestion.bootstrap import build
from services.ingestion.settings import IngestionSettings
from shared.testing.servers import served


@pytest.fixture
def serving(tmp_path):
    """Opens the service on a store in `tmp_path`; yields what is served and a stub."""

    @contextlib.asynccontextmanager
    async def open_service(*, ready=True, **changes):
        values = {
            "port": 0,
            "metrics_port": 0,
            "store": f"sqlite:///{tmp_path}/events.db",
            "open_retry_s": 0.05,
            **changes,
        }
        settings = IngestionSettings(**values)
        async with served(build(settings), settings, "ingestion", ready=ready) as service:
            yield service, pb_grpc.IngestionServiceStub(service.channel)

    return open_service


@pytest.fixture
async def stub(serving):
    async with serving() as (_, stub):
        yield stub
