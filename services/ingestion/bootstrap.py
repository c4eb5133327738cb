"""The composition root: puts the service together from its settings. The only file that names concrete adapters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as pb_grpc

from services.ingestion.adapters.sqlite_store import SqliteStore
from services.ingestion.ports import Store, StoreUnusable
from services.ingestion.reading.reader import LogReader
from services.ingestion.servicer import IngestionServicer
from services.ingestion.writing.writer import BatchWriter

if TYPE_CHECKING:
    import grpc.aio

    from services.ingestion.settings import IngestionSettings
    from shared.exports import ExportManifest
    from shared.rpc.server import Lifecycle
    from shared.telemetry.progress import JobProgress

SERVICE = "ingestion"


def build(settings: IngestionSettings) -> IngestionApp:
    """Returns the service, not started yet."""
    store = SqliteStore(
        settings.sqlite_path,
        max_queued_rows=settings.max_queued_rows,
        reader_threads=settings.reader_threads,
    )
    return IngestionApp(store, retry_s=settings.open_retry_s)


class IngestionApp:
    """What the runner runs; see `shared.rpc.server.ServiceApp`."""

    service_names: tuple[str, ...] = (pb.DESCRIPTOR.services_by_name["IngestionService"].full_name,)

    def __init__(self, store: Store, *, retry_s: float) -> None:
        self._store = store
        self._retry_s = retry_s
        self._stopping = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._servicer = IngestionServicer(
            store, BatchWriter(store, store), LogReader(store, self._stopping), self._stopping
        )

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        pb_grpc.add_IngestionServiceServicer_to_server(self._servicer, server)

    async def start(self, lifecycle: Lifecycle) -> None:
        """Opens the store, however long that takes: NOT_SERVING with the reason until then."""
        self._watch = asyncio.create_task(self._pass_on(lifecycle))
        while not await self._opened(lifecycle):  # noqa: ASYNC110 (a disk tells nobody that it is usable again)
            await asyncio.sleep(self._retry_s)
        await lifecycle.ready()

    async def stop(self) -> None:
        """Finishes accepted writes and closes the store."""
        if self._watch is not None:
            await self._watch
        await self._store.close()

    async def _opened(self, lifecycle: Lifecycle) -> bool:
        try:
            await self._store.open()
        except StoreUnusable as error:
            # Said once, not at every attempt.
            if lifecycle.reason != str(error):
                await lifecycle.not_ready(str(error))
            return False
        return True

    async def _pass_on(self, lifecycle: Lifecycle) -> None:
        await lifecycle.stopping.wait()
        self._stopping.set()


def export(settings: IngestionSettings, out: str, progress: JobProgress) -> ExportManifest:
    """Writes the log and the catalogue as Parquet into a folder or an fsspec URL, beside a running server.

    Raises:
        StoreUnusable: there is no store to read.
        AnotherLog: the folder holds the export of another log.
        FusionrecError: the store or the folder cannot be read.

    """
    # The server needs neither these nor pyarrow.
    from services.ingestion.adapters.sqlite_export import SqliteExport
    from services.ingestion.exporting.exporter import Exporter
    from shared.exports import ExportFolder

    log = SqliteExport(settings.sqlite_path)
    try:
        return Exporter(log, ExportFolder(out), progress).run()
    finally:
        log.close()
