"""Impressions read back from a real ingestion service: those of some recommendations, and no more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc

from services.ingestion.bootstrap import build
from services.ingestion.settings import IngestionSettings
from services.ranker.adapters.grpc_ingestion import GrpcIngestion
from services.ranker.adapters.impression_log import ImpressionLog
from services.ranker.nouns import Result
from services.ranker.pipeline.record.record import ImpressionRecorder, token
from shared.data.nouns import Event, EventType
from shared.errors import DependencyUnavailable
from shared.rpc.client import open_channel
from shared.rpc.convert import encode_event
from shared.testing.processes import NOWHERE
from shared.testing.servers import served

ANY_POSITION = 100


def shown(recommendation, count=3):
    return [
        Result(f"i{place}", 1.0, place, attribution_token=token(recommendation, place), propensity=1 / place)
        for place in range(1, count + 1)
    ]


async def read(log, *recommendations, max_position=ANY_POSITION):
    """Reads recommendations, "of-u" and "long" of u."""
    told = []
    users = {one: one.removeprefix("of-") if one.startswith("of-") else "u" for one in recommendations}
    found = await log.read(users, max_position=max_position, on_record=told.append)
    return found, told


async def test_what_was_recorded_is_read_back_by_recommendation(tmp_path):
    settings = IngestionSettings(port=0, metrics_port=0, store=f"sqlite:///{tmp_path}/events.db")
    async with served(build(settings), settings, "ingestion") as server:
        recorder = ImpressionRecorder(GrpcIngestion(server.channel), capacity=1000)
        for user in ("u", "v"):
            recorder.put(user, shown(f"of-{user}"), recorder.mark)
        recorder.put("u", shown("long", 30), recorder.mark)
        await recorder.flush()
        stub = ingestion_grpc.IngestionServiceStub(server.channel)
        # Written without a place, again and again at one, and with tokens of somebody else's list.
        echo = Event("", "u", "i1", EventType.IMPRESSION, datetime.now(UTC), attribution_token="of-u.1")  # noqa: S106 (not a password)
        forged = [replace(echo, event_id=f"placeless-{n}") for n in range(200)]
        forged += [replace(echo, event_id=f"stray-{n}", user_id="w", position=n) for n in range(1, 6)]
        forged += [
            replace(echo, event_id=f"again-{n}", user_id="w", attribution_token="of-w.1", position=1)  # noqa: S106
            for n in range(20)
        ]
        click = Event("click", "u", "i2", EventType.CLICK, datetime.now(UTC), attribution_token="of-u.2")  # noqa: S106
        events = [encode_event(event) for event in [*forged, click]]
        await stub.WriteEvents(ingestion_pb.WriteEventsRequest(events=events))
        log = ImpressionLog(server.channel)
        found, told = await read(log, "of-u", "nobody's")
        assert [(one.user_id, one.item_id, one.position) for one in found] == [("u", f"i{n}", n) for n in (1, 2, 3)]
        assert [one.propensity for one in found] == pytest.approx([1, 1 / 2, 1 / 3])
        assert told
        # Bounded by position, and where somebody writes what was never shown.
        found, _ = await read(log, "long", "of-w", max_position=10)
        assert [one.position for one in found if one.user_id == "u"] == list(range(1, 11))
        assert [one.event_id for one in found if one.user_id == "w"] == ["again-0"]
        await stub.ForgetUser(ingestion_pb.ForgetUserRequest(user_id="u"))
        found, _ = await read(log, "of-u", "of-v")
        assert {one.user_id for one in found} == {"v"}


async def test_without_ingestion_the_training_is_told():
    channel = open_channel(NOWHERE)
    with pytest.raises(DependencyUnavailable):
        await read(ImpressionLog(channel), "r")
    await channel.close()
