"""The neighbours as calls see them: each behind a circuit breaker of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from services.ranker.nouns import CandidateQuery, CandidateTable
    from services.ranker.pipeline.breaker import Breaker
    from services.ranker.ports import (
        CandidateFinder,
        CandidatesInfo,
        Embedded,
        HistoryReader,
        StoredHistory,
        TextEncoder,
        VariantAssigner,
    )


class GuardedHistory:
    """`HistoryReader` behind a breaker."""

    def __init__(self, reader: HistoryReader, breaker: Breaker) -> None:
        self._reader = reader
        self._breaker = breaker

    async def history(
        self, user_id: str, limit: int, as_of: datetime | None, timeout_s: float, known: StoredHistory | None = None
    ) -> StoredHistory:
        """Returns a user's newest events; see `HistoryReader`."""
        return await self._breaker.call(lambda: self._reader.history(user_id, limit, as_of, timeout_s, known))


class GuardedEncoder:
    """`TextEncoder` behind a breaker."""

    def __init__(self, encoder: TextEncoder, breaker: Breaker) -> None:
        self._encoder = encoder
        self._breaker = breaker

    async def embed(self, texts: Sequence[str], timeout_s: float, *, bulk: bool = False, version: str = "") -> Embedded:
        """Returns one vector per text; see `TextEncoder`."""
        return await self._breaker.call(lambda: self._encoder.embed(texts, timeout_s, bulk=bulk, version=version))


class GuardedAssigner:
    """`VariantAssigner` behind a breaker."""

    def __init__(self, assigner: VariantAssigner, breaker: Breaker) -> None:
        self._assigner = assigner
        self._breaker = breaker

    async def assign(self, experiment: str, user_id: str, timeout_s: float) -> str:
        """Returns a user's variant; see `VariantAssigner`."""
        return await self._breaker.call(lambda: self._assigner.assign(experiment, user_id, timeout_s))


class GuardedCandidates:
    """`CandidateFinder` behind a breaker."""

    def __init__(self, finder: CandidateFinder, breaker: Breaker) -> None:
        self._finder = finder
        self._breaker = breaker

    async def find(self, query: CandidateQuery, timeout_s: float) -> CandidateTable:
        """Returns candidates; see `CandidateFinder`."""
        return await self._breaker.call(lambda: self._finder.find(query, timeout_s))

    async def find_many(self, queries: Sequence[CandidateQuery], timeout_s: float) -> list[CandidateTable]:
        """Returns the answers to many queries; see `CandidateFinder`."""
        return await self._breaker.call(lambda: self._finder.find_many(queries, timeout_s))

    async def info(self, timeout_s: float) -> CandidatesInfo:
        """Returns what is loaded; see `CandidateFinder`."""
        return await self._finder.info(timeout_s)
