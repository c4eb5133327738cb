"""Histories and impressions over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as pb_grpc

from services.ranker.ports import StoredHistory
from shared.data.nouns import EventType, HistoryEvent
from shared.rpc import client
from shared.rpc.convert import decode_time, encode_event, encode_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import grpc.aio
    from fusionrec.common.v1 import event_pb2

    from shared.data.nouns import Event

COMPONENT = "ingestion"


class GrpcIngestion:
    """`HistoryReader` and `ImpressionWriter` over one channel to ingestion."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.IngestionServiceStub(channel)

    async def history(
        self, user_id: str, limit: int, as_of: datetime | None, timeout_s: float, known: StoredHistory | None = None
    ) -> StoredHistory:
        """Returns a user's newest events, oldest first; see `HistoryReader`."""
        request = pb.GetUserHistoryRequest(
            user_id=user_id,
            limit=limit,
            as_of=None if as_of is None else encode_time(as_of),
            known_cursor="" if known is None else known.cursor,
        )
        reply = await client.call(self._stub.GetUserHistory(request, timeout=timeout_s), COMPONENT)
        if known is not None and reply.unchanged:
            # The newer position: ingestion can tell longer what has changed since.
            return StoredHistory(known.events, reply.cursor)
        return StoredHistory(tuple(_history_event(message) for message in reversed(reply.events)), reply.cursor)

    async def write(self, events: Sequence[Event], timeout_s: float) -> int:
        """Writes impressions; see `ImpressionWriter`."""
        request = pb.WriteEventsRequest(events=[encode_event(event) for event in events])
        reply = await client.call(self._stub.WriteEvents(request, timeout=timeout_s), COMPONENT)
        return sum(result.status == pb.WRITE_STATUS_ACCEPTED for result in reply.results)


def _history_event(message: event_pb2.Event) -> HistoryEvent:
    # Events of the log were checked when they were written: a history of thousands is not checked again for each call.
    return HistoryEvent(
        message.item_id,
        EventType(message.type),
        decode_time(message.timestamp, "events.timestamp"),
        message.value if message.HasField("value") else None,
        message.text,
    )
