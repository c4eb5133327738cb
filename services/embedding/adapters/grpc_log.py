"""The event log and the catalogue, read from ingestion over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.data.nouns import EventType
from shared.rpc.feed import LogFeed, read_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc.aio

    from shared.data.log import LogSnapshot


class GrpcLog:
    """Reads the log of the ingestion service at the other end of `channel`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._feed = LogFeed(channel, exclude_types=[EventType.IMPRESSION])

    async def read(self, up_to: int | None, on_records: Callable[[int], None]) -> LogSnapshot:
        """See `training.ports.EventLog`."""
        return await read_snapshot(self._feed, up_to=up_to, on_batch=on_records)
