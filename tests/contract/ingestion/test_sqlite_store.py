from __future__ import annotations

import contextlib

from services.ingestion.adapters.sqlite_store import SqliteStore
from shared.testing.ingestion_store import IngestionStoreContract


class TestSqliteStore(IngestionStoreContract):
    @contextlib.asynccontextmanager
    async def opened(self, place):
        store = SqliteStore(place / "events.db")
        await store.open()
        try:
            yield store
        finally:
            await store.close()
