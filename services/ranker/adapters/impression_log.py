"""Impressions from ingestion's log, those of some recommendations alone: they are most of a busy log."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING

from services.ranker.pipeline.record.record import recommendation_of
from shared.data.nouns import Event, EventType, UserForgotten
from shared.rpc.feed import LogFeed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import grpc.aio

ALL_BUT_IMPRESSIONS = tuple(kind for kind in EventType if kind is not EventType.IMPRESSION)


class ImpressionLog:
    """`ImpressionReader` over a channel to ingestion."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._feed = LogFeed(channel, exclude_types=ALL_BUT_IMPRESSIONS)

    async def read(
        self,
        recommendations: Collection[str],
        *,
        max_position: int,
        on_record: Callable[[int], None],
    ) -> list[Event]:
        """Returns the impressions of recommendations; see `ImpressionReader`."""
        found: dict[str, list[Event]] = defaultdict(list)
        async with contextlib.aclosing(self._feed.read()) as batches:
            async for batch in batches:
                for record in batch.records:
                    match record.body:
                        case Event(attribution_token=token, position=position) as event if position <= max_position:
                            own = recommendation_of(token)
                            if own in recommendations and len(found[own]) < max_position:
                                found[own].append(event)
                        case UserForgotten(user_id):
                            for own, events in found.items():
                                found[own] = [event for event in events if event.user_id != user_id]
                if batch.records:
                    on_record(batch.records[-1].sequence)
        return [event for events in found.values() for event in events]
