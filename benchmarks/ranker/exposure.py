"""Items without any event in the catalogue of warm users: what share of the lists they get, and what it costs.

The real situation, made of MovieLens: the log ends for each user at four fifths of their events, and a fifth of the
items (those that the protocol `new-items` hides) has no event in it at all. Candidates and ranker are trained on that
log, as what is served. Then the hidden items are written to the catalogue, with their titles, genres and years, and
the same users are asked again, by name. Relevant is what a user liked in the fifth that the log does not have; of the
hidden items, whatever the user ever liked. Live versions with the default settings answer, as users get them: a place
of every ten is kept for a new item that fits.

The catalogue without the hidden items is the one before they were written. `by score alone` asks for no kept place.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusionrec.channel import connect, connect_aio
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc
from fusionrec.ranker.v1 import ranker_service_pb2 as pb
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as pb_grpc

from benchmarks.candidates.data import Data
from benchmarks.candidates.fleet import write
from benchmarks.ranker.prepare import RULES
from benchmarks.ranker.select import mean, ndcg
from benchmarks.ranker.world import say
from shared.data.splits import TEST_SHARE, by_user, hidden_items, per_user_chronological

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.ranker.world import World
    from shared.data.nouns import Item

K, TOP = 20, 10
CONCURRENCY = 8
TIMEOUT_S = 30
PROBED = 30
SETTLED_WITHIN_S = 60.0
WITHOUT, SERVED, BY_SCORE = "without the hidden items", "with them, as served", "with them, by score alone"


@dataclass(frozen=True)
class Warm:
    """A user of the cut log; `relevant` among the items it has events of, `hidden` among those that it has none of."""

    user_id: str
    relevant: frozenset[str]
    hidden: frozenset[str]


@dataclass(frozen=True)
class Scene:
    """The log as it ends, the items that come later, and who is asked."""

    log: Data
    later: tuple[Item, ...]
    users: tuple[Warm, ...]


def scene(data: Data) -> Scene:
    """Cuts the log and the catalogue."""
    hidden = hidden_items(event for event in data.events if RULES.signal(event) > 0)
    events, users = [], []
    for user, split in sorted(per_user_chronological(by_user(data.events), TEST_SHARE, TEST_SHARE).items()):
        own = [event for event in split.train if event.item_id not in hidden]
        events += own
        liked = frozenset(one.item_id for one in (*split.train, *split.test) if RULES.signal(one) > 0)
        later = frozenset(one.item_id for one in split.test if RULES.signal(one) > 0)
        relevant = later - {one.item_id for one in split.train} - hidden
        if own and relevant:
            users.append(Warm(user, relevant, liked & hidden))
    known = tuple(item for item in data.items if item.item_id not in hidden)
    coming = tuple(item for item in data.items if item.item_id in hidden)
    return Scene(Data(known, tuple(events)), coming, tuple(users))


async def measure(world: World, scene: Scene) -> dict[str, Any]:
    """Asks all users before and after the hidden items are written; takes them out of the catalogue again."""
    # Answers are computed: those of a phase shall not be given again in the next.
    with world.served(ranker={"RANKER_REPLY_CACHE_S": "0"}) as served:
        async with connect_aio(served.ranker.address) as channel:
            stub = pb_grpc.RankerServiceStub(channel)
            say(f"exposure: {len(scene.users)} users without the {len(scene.later)} hidden items")
            lists = {WITHOUT: await _ask(stub, scene.users)}
            address = world.fleet.ingestion.address
            try:
                write(address, Data(scene.later, ()))
                seconds = await _settled(stub, scene)
                say("exposure: with them")
                lists[SERVED] = await _ask(stub, scene.users)
                lists[BY_SCORE] = await _ask(stub, scene.users, slots=0)
            finally:
                _delete(address, scene.later)
    phases = {name: row(own, scene) for name, own in lists.items()}
    before = phases[WITHOUT]["ndcg@10"]
    for phase in phases.values():
        phase["loss"] = round(1 - phase["ndcg@10"] / before, 4)
    return {
        "users": len(scene.users),
        "users_with_hidden": sum(bool(one.hidden) for one in scene.users),
        "items": len(scene.log.items),
        "hidden": len(scene.later),
        "share_of_catalogue": round(len(scene.later) / (len(scene.later) + len(scene.log.items)), 4),
        "settled_s": seconds,
        "phases": phases,
    }


async def _ask(
    stub: pb_grpc.RankerServiceAsyncStub, users: Sequence[Warm], slots: int | None = None
) -> list[list[str]]:
    permits = asyncio.Semaphore(CONCURRENCY)

    async def one(user: Warm) -> list[str]:
        context = pb.RankingContext(user_id=user.user_id)
        request = pb.RecommendRequest(context=context, k=K, skip_impressions=True, new_item_slots=slots)
        async with permits:
            reply = await stub.Recommend(request, timeout=TIMEOUT_S)
        if reply.degraded:
            raise RuntimeError(f"an answer was degraded: {reply.degraded[0].reason}")
        return [result.item_id for result in reply.results]

    return list(await asyncio.gather(*(one(user) for user in users)))


async def _settled(stub: pb_grpc.RankerServiceAsyncStub, scene: Scene) -> float:
    """Waits until the lists of some users show hidden items and stay the same for two seconds; returns the seconds."""
    hidden = {item.item_id for item in scene.later}
    started = time.perf_counter()
    before: list[list[str]] = []
    same = 0
    while time.perf_counter() - started < SETTLED_WITHIN_S:
        now = await _ask(stub, scene.users[:PROBED])
        same = same + 1 if now == before and any(hidden.intersection(one) for one in now) else 0
        before = now
        if same == 2:
            return round(time.perf_counter() - started, 1)
        await asyncio.sleep(1)
    raise RuntimeError(f"the hidden items are not in the lists after {SETTLED_WITHIN_S:g} s, or the lists still change")


def row(lists: Sequence[Sequence[str]], scene: Scene) -> dict[str, float]:
    """Returns what the users' lists are worth, and what of them the hidden items have."""
    hidden = {item.item_id for item in scene.later}
    pairs = list(zip(lists, scene.users, strict=True))
    liking = [(shown, user) for shown, user in pairs if user.hidden]
    found = {"ndcg@10": mean(ndcg(shown, user.relevant) for shown, user in pairs)}
    found["ndcg@10 with hidden relevant"] = mean(ndcg(shown, user.relevant | user.hidden) for shown, user in pairs)
    for k in (TOP, K):
        found[f"exposure@{k}"] = mean(item in hidden for shown in lists for item in shown[:k])
        found[f"hit_rate@{k}"] = mean(bool(user.hidden.intersection(shown[:k])) for shown, user in liking)
    new = [item in user.hidden for shown, user in liking for item in shown if item in hidden]
    found["shown_hidden_that_are_liked"] = mean(new)
    return found


def _delete(address: str, items: Sequence[Item]) -> None:
    with connect(address) as channel:
        stub = ingestion_grpc.IngestionServiceStub(channel)
        for item in items:
            stub.DeleteItem(ingestion_pb.DeleteItemRequest(item_id=item.item_id), timeout=TIMEOUT_S)
