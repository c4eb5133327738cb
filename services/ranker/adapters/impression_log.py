"""Impressions from ingestion's log, those of some recommendations alone: they are most of a busy log."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING

from services.ranker.pipeline.record.record import recommendation_of
from shared.data.nouns import Event, EventType, UserForgotten
from shared.rpc.feed import LogFeed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import grpc.aio

ALL_BUT_IMPRESSIONS = tuple(kind for kind in EventType if kind is not EventType.IMPRESSION)


class ImpressionLog:
    """`ImpressionReader` over a channel to ingestion."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._feed = LogFeed(channel, exclude_types=ALL_BUT_IMPRESSIONS)

    async def read(
        self,
        recommendations: Mapping[str, str],
        *,
        max_position: int,
        on_record: Callable[[int], None],
    ) -> list[Event]:
        """Returns the impressions of recommendations; see `ImpressionReader`."""
        # By place: what is written again, or by others, takes no room.
        found: dict[str, dict[int, Event]] = defaultdict(dict)
        async with contextlib.aclosing(self._feed.read()) as batches:
            async for batch in batches:
                for record in batch.records:
                    match record.body:
                        case Event(position=position) as event if 1 <= position <= max_position:
                            own = recommendation_of(event.attribution_token)
                            if recommendations.get(own) == event.user_id:
                                found[own].setdefault(position, event)
                        case UserForgotten(user_id):
                            for own in [own for own in found if recommendations[own] == user_id]:
                                del found[own]
                if batch.records:
                    on_record(batch.records[-1].sequence)
        return [event for events in found.values() for event in events.values()]
