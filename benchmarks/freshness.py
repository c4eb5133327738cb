"""How long until a write counts: a new user's first likes, and a new item that is nothing but a title.

Each is written through Ingestion and awaited in Recommend by asking again and again; time runs from the write's reply.
"""

from __future__ import annotations

import asyncio
import operator
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from fusionrec.channel import connect_aio
from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc
from fusionrec.ranker.v1 import ranker_service_pb2 as ranker_pb
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as ranker_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 10.0
RELATIVES = {
    "Toy Story 4": ("1", "3114", "4886", "6377"),
    "Shrek 5": ("4306", "8360", "1", "4886"),
    "The Lord of the Rings: The War of the Rohirrim": ("4993", "5952", "7153"),
    "Star Wars: The Mandalorian and Grogu": ("260", "1196", "1210"),
    "Jurassic World: Rebirth": ("480", "1544", "4638"),
    "The Godfather: Part IV": ("858", "1221", "2023"),
}
"""A new film, and what somebody liked who would want to see it (MovieLens ids)."""


async def measure(ranker: str, ingestion: str) -> dict[str, Any]:
    """Returns the seconds until each write counted; None where it did not within `PATIENCE_S`."""
    async with connect_aio(ranker) as to_ranker, connect_aio(ingestion) as to_ingestion:
        recommend = ranker_grpc.RankerServiceStub(to_ranker)
        write = ingestion_grpc.IngestionServiceStub(to_ingestion)
        events, items = [], {}
        for title, liked in RELATIVES.items():
            user = f"freshness-{uuid.uuid4().hex}"
            before = await _items(recommend, user)
            await write.WriteEvents(ingestion_pb.WriteEventsRequest(events=_likes(user, liked)))
            events.append(await _until(recommend, user, partial(operator.ne, before)))
            item = item_pb2.Item(item_id=f"new-{uuid.uuid4().hex}", title=title)
            await write.UpsertItems(ingestion_pb.UpsertItemsRequest(items=[item]))
            items[title] = await _until(recommend, user, partial(_has, item.item_id))
    seen = [seconds for seconds in items.values() if seconds is not None]
    return {
        "event_s": {"median": float(np.median(_known(events))), "worst": max(_known(events))},
        "item_s": {"median": float(np.median(seen)), "worst": max(seen), "found": len(seen), "asked": len(items)},
        "items": items,
    }


def _has(item_id: str, items: list[str]) -> bool:
    return item_id in items


def _known(seconds: list[float | None]) -> list[float]:
    return [PATIENCE_S if one is None else one for one in seconds]


def _likes(user: str, items: tuple[str, ...]) -> list[event_pb2.Event]:
    kind = event_pb2.EVENT_TYPE_LIKE
    return [event_pb2.Event(user_id=user, item_id=item, type=kind) for item in items]


async def _items(recommend: ranker_grpc.RankerServiceAsyncStub, user: str) -> list[str]:
    context = ranker_pb.RankingContext(user_id=user)
    reply = await recommend.Recommend(ranker_pb.RecommendRequest(context=context, k=20, skip_impressions=True))
    return [one.item_id for one in reply.results]


async def _until(
    recommend: ranker_grpc.RankerServiceAsyncStub, user: str, holds: Callable[[list[str]], bool]
) -> float | None:
    started = time.perf_counter()
    while time.perf_counter() - started < PATIENCE_S:
        if holds(await _items(recommend, user)):
            return round(time.perf_counter() - started, 3)
        await asyncio.sleep(0.01)
    return None
