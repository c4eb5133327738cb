"""`UserHistories` over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as pb_grpc

from services.candidates.ports import UserHistory
from shared.data.nouns import EventType, HistoryEvent
from shared.rpc import client
from shared.rpc.convert import decode_time

if TYPE_CHECKING:
    import grpc.aio

COMPONENT = "ingestion"
TIMEOUT_S = 5.0


class GrpcHistories:
    """Reads the newest `limit` events of a user from ingestion, impressions left out."""

    def __init__(self, channel: grpc.aio.Channel, limit: int) -> None:
        self._stub = pb_grpc.IngestionServiceStub(channel)
        self._limit = limit

    async def read(self, user_id: str) -> UserHistory:
        """Returns a user's history, oldest event first; empty for an unknown user.

        Raises:
            DependencyUnavailable: ingestion does not answer.

        """
        request = pb.GetUserHistoryRequest(user_id=user_id, limit=self._limit)
        answer = await client.call(self._stub.GetUserHistory(request, timeout=TIMEOUT_S), COMPONENT)
        events = tuple(
            HistoryEvent(
                event.item_id,
                EventType(event.type),
                decode_time(event.timestamp, "timestamp"),
                event.value if event.HasField("value") else None,
                event.text,
            )
            for event in reversed(answer.events)
        )
        return UserHistory(events, answer.sequence)
