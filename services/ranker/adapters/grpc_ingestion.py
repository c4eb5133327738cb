"""Histories and impressions over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as pb_grpc

from shared.data.nouns import HistoryEvent
from shared.rpc import client
from shared.rpc.convert import decode_event, decode_time, encode_event, encode_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import grpc.aio

    from shared.data.nouns import Event

COMPONENT = "ingestion"


class GrpcIngestion:
    """`HistoryReader` and `ImpressionWriter` over one channel to ingestion."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.IngestionServiceStub(channel)

    async def history(self, user_id: str, limit: int, as_of: datetime | None, timeout_s: float) -> list[HistoryEvent]:
        """Returns a user's newest events, oldest first; see `HistoryReader`."""
        request = pb.GetUserHistoryRequest(
            user_id=user_id, limit=limit, as_of=None if as_of is None else encode_time(as_of)
        )
        reply = await client.call(self._stub.GetUserHistory(request, timeout=timeout_s), COMPONENT)
        events = []
        for message in reversed(reply.events):
            arrived = decode_time(message.timestamp, "events.timestamp")
            event = decode_event(message, "events", arrived_at=arrived)
            events.append(HistoryEvent(event.item_id, event.type, event.timestamp, event.value, event.text))
        return events

    async def write(self, events: Sequence[Event], timeout_s: float) -> int:
        """Writes impressions; see `ImpressionWriter`."""
        request = pb.WriteEventsRequest(events=[encode_event(event) for event in events])
        reply = await client.call(self._stub.WriteEvents(request, timeout=timeout_s), COMPONENT)
        return sum(result.status == pb.WRITE_STATUS_ACCEPTED for result in reply.results)
