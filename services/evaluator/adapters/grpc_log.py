"""The event log, read from ingestion over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.evaluator.ports import LogSnapshot
from shared.data.nouns import EventType
from shared.rpc.feed import LogFeed, read_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc.aio


class GrpcLog:
    """Reads the log of the ingestion service at the other end of `channel`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._feed = LogFeed(channel, exclude_types=[EventType.IMPRESSION])

    async def read(self, up_to: int, on_records: Callable[[int], None]) -> LogSnapshot:
        """See `ports.EventLog`."""
        snapshot = await read_snapshot(self._feed, up_to=up_to, on_batch=on_records)
        return LogSnapshot(snapshot.events, frozenset(snapshot.items), snapshot.sequence)
