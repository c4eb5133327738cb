"""Stubs to the ranker and to ingestion of the trained world."""

from __future__ import annotations

import pytest
from fusionrec.channel import connect
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as ranker_grpc


@pytest.fixture(scope="session")
def ranker(trained):
    with connect(trained.address("ranker")) as channel:
        yield ranker_grpc.RankerServiceStub(channel)


@pytest.fixture(scope="session")
def ingestion(trained):
    with connect(trained.address("ingestion")) as channel:
        yield ingestion_grpc.IngestionServiceStub(channel)
