"""The RPC methods: decode, call, encode."""
# ruff: noqa: N802, ARG002 (the methods have the contract's names and gRPC's signature)

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as pb_grpc

from services.ingestion import convert
from services.ingestion.reading.cursors import decode_cursor, decode_page_token, encode_cursor, known_position
from shared.data import limits
from shared.data.validation import check_id, check_int
from shared.offload import offload, until_set
from shared.rpc.convert import decode_time
from shared.telemetry.stages import Stages

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    import grpc.aio

    from services.ingestion.ports import Store
    from services.ingestion.reading.reader import LogReader
    from services.ingestion.writing.writer import BatchWriter

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class IngestionServicer(pb_grpc.IngestionServiceServicer):
    """Serves `fusionrec.ingestion.v1.IngestionService`."""

    def __init__(self, store: Store, writer: BatchWriter, reader: LogReader, stopping: asyncio.Event) -> None:
        self._store = store
        self._writer = writer
        self._reader = reader
        self._stopping = stopping

    async def WriteEvents(self, request: pb.WriteEventsRequest, context: Context) -> pb.WriteEventsResponse:
        """Writes a batch of events."""
        batch = await offload(len(request.events), convert.decode_events, request.events)
        written = await self._writer.write_events(batch)
        return await offload(len(batch), convert.encode_written_events, written, self._store.log_id)

    async def StreamEvents(
        self, request_iterator: AsyncIterator[pb.StreamEventsRequest], context: Context
    ) -> AsyncIterator[pb.StreamEventsResponse]:
        """Writes a feed of batches, acknowledging each in order."""
        async for request in until_set(request_iterator, self._stopping):
            batch = await offload(len(request.events), convert.decode_events, request.events)
            written = await self._writer.write_events(batch)
            yield await offload(
                len(batch), convert.encode_acknowledgement, request.batch_id, written, self._store.log_id
            )

    async def UpsertItems(self, request: pb.UpsertItemsRequest, context: Context) -> pb.UpsertItemsResponse:
        """Writes a batch of items."""
        batch = await offload(len(request.items), convert.decode_items, request.items)
        written = await self._writer.write_items(batch)
        return await offload(len(batch), convert.encode_written_items, written, self._store.log_id)

    async def GetItems(self, request: pb.GetItemsRequest, context: Context) -> pb.GetItemsResponse:
        """Reads items by id."""
        item_ids = convert.decode_item_ids(request.item_ids)
        found = await self._store.get_items(item_ids)
        return await offload(len(found), convert.encode_items, item_ids, found)

    async def ListItems(self, request: pb.ListItemsRequest, context: Context) -> pb.ListItemsResponse:
        """Reads one page of the catalogue."""
        size = check_int(request.page_size, "page_size", 1, limits.MAX_PAGE_SIZE, zero_means=limits.DEFAULT_PAGE_SIZE)
        items, more = await self._store.list_items(decode_page_token(request.page_token), size)
        return await offload(len(items), convert.encode_page, items, more=more)

    async def DeleteItem(self, request: pb.DeleteItemRequest, context: Context) -> pb.DeleteItemResponse:
        """Deletes an item."""
        deleted = await self._store.delete_item(check_id(request.item_id, "item_id"))
        return pb.DeleteItemResponse(
            existed=deleted.existed, cursor=encode_cursor(self._store.log_id, deleted.sequence)
        )

    async def ReadEvents(self, request: pb.ReadEventsRequest, context: Context) -> AsyncIterator[pb.ReadEventsResponse]:
        """Replays the log, and follows it when asked to."""
        limit = check_int(
            request.batch_size, "batch_size", 1, limits.MAX_READ_BATCH, zero_means=limits.DEFAULT_READ_BATCH
        )
        exclude = convert.decode_types(request.exclude_types, "exclude_types")
        log_id = self._store.log_id
        position = decode_cursor(request.cursor, log_id, self._store.end)
        async for stretch in self._reader.read(position, follow=request.follow, limit=limit, exclude=exclude):
            yield await offload(len(stretch.records), convert.encode_stretch, stretch, log_id)

    async def GetUserHistory(self, request: pb.GetUserHistoryRequest, context: Context) -> pb.GetUserHistoryResponse:
        """Reads what one user did."""
        history = await self._store.user_history(
            check_id(request.user_id, "user_id"),
            limit=check_int(request.limit, "limit", 1, limits.MAX_HISTORY, zero_means=limits.DEFAULT_HISTORY),
            types=convert.decode_history_types(request.types),
            before=decode_time(request.as_of, "as_of") if request.HasField("as_of") else None,
            known=known_position(request.known_cursor, self._store.log_id, self._store.end),
        )
        return await offload(len(history.events), convert.encode_user_history, history, self._store.log_id)

    async def ForgetUser(self, request: pb.ForgetUserRequest, context: Context) -> pb.ForgetUserResponse:
        """Erases a user's events."""
        erasure = await self._store.forget_user(check_id(request.user_id, "user_id"))
        return pb.ForgetUserResponse(
            receipt_id=erasure.receipt_id,
            events_erased=erasure.events_erased,
            cursor=encode_cursor(self._store.log_id, erasure.sequence),
        )

    async def GetStats(self, request: pb.GetStatsRequest, context: Context) -> pb.GetStatsResponse:
        """Counts what is stored."""
        stages = Stages("ingestion")
        with stages.stage("read"):
            stats = await self._store.stats()
        return convert.encode_stats(
            stats,
            log_id=self._store.log_id,
            engine=self._store.engine,
            rejected=self._writer.rejected_events,
            stages=stages.times,
        )
