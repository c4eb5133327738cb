"""What the dials of a list cost and give on MovieLens: likeness, categories and the long tail against NDCG@10.

Asks a trained ranker for the warm protocol's version, each user with the history before the test part, once per
setting of a dial. A part of `python -m benchmarks.ranker` (`--only dials`); alone it needs the services (`fusionrec
demo --keep`, then `fusionrec up`).

    python -m benchmarks.ranker.select --ranker 127.0.0.1:50054 --users 200
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import uvloop
from fusionrec.channel import connect_aio
from fusionrec.common.v1 import event_pb2
from fusionrec.embedding.v1 import embedding_service_pb2 as embedding_pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as embedding_grpc
from fusionrec.ranker.v1 import ranker_service_pb2 as pb
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as ranker_grpc

from benchmarks.candidates.data import movielens
from services.ranker.pipeline.select.calibration import category_mix, divergence
from shared.data.preferences import PreferenceRules
from shared.data.splits import by_user, per_user_chronological
from shared.data.texts import item_text
from shared.rpc.convert import decode_vector, encode_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from benchmarks.candidates.data import Data
    from shared.data.nouns import Event, Item

K = 10
TAIL_SHARE = 0.8
"""The head has the most popular items, as many as have the rest of the positives; all others are the tail."""
CONCURRENCY = 8
EMBED_BATCH = 256
STEPS = (0.1, 0.3, 0.5, 0.7, 0.9)
Vectors = dict[str, "NDArray[np.float32]"]


@dataclass(frozen=True)
class Case:
    """A user's history as the ranker is told it, and the items that are relevant afterwards."""

    history: event_pb2.History
    relevant: frozenset[str]


def dials() -> Iterator[tuple[str, float, pb.RecommendRequest]]:
    """Yields (dial, value, request without a user)."""
    yield "by score", 0.0, pb.RecommendRequest(k=K, diversity=0.0)
    for value in STEPS:
        for name, method in (("mmr", pb.DIVERSITY_METHOD_MMR), ("dpp", pb.DIVERSITY_METHOD_DPP)):
            options = pb.SelectionOptions(diversity_method=method)
            yield name, value, pb.RecommendRequest(k=K, diversity=value, selection=options)
        yield "calibration", value, pb.RecommendRequest(k=K, selection=pb.SelectionOptions(calibration=value))
        yield "long_tail", value, pb.RecommendRequest(k=K, selection=pb.SelectionOptions(long_tail=value))
    for most in (5, 3, 2):
        yield "max_per_category", most, pb.RecommendRequest(k=K, selection=pb.SelectionOptions(max_per_category=most))


async def measure(ranker: str, embedding: str, *, users: int = 200, data: Data | None = None) -> list[dict[str, Any]]:
    """Returns one row per setting of a dial: NDCG@10 and its share of that by score, and what the lists are like.

    `ild_text`: mean distance (1 - cosine of centred text vectors) of two items of a list. `ild_genres`: mean Jaccard
    distance of their genres. `genres`: different genres in a list. `kl`: divergence of its genres from the user's mix.
    `tail`: share of items outside of the head, which has the most popular items with a fifth of the positives.
    `catalogue`: share of the catalogue that is shown to anybody.
    """
    data = data or movielens(small=False)
    items = {item.item_id: item for item in data.items}
    events = list(data.events)
    cases = warm_cases(events)[:users]
    async with connect_aio(ranker) as channel:
        stub = ranker_grpc.RankerServiceStub(channel)
        version = await test_version(stub)
        lists = [(dial, value, await _ask(stub, version, cases, request)) for dial, value, request in dials()]
    shown = {item_id for _, _, own in lists for one in own for item_id in one}
    vectors = await text_vectors([items[item_id] for item_id in sorted(shown)], embedding)
    head = head_items(events)
    figures = [_row(own, cases, items, vectors, head) for _, _, own in lists]
    by_score = max(figures[0]["ndcg@10"], 1e-9)
    return [
        {"dial": dial, "value": value, **row, "ndcg_share": round(row["ndcg@10"] / by_score, 3)}
        for (dial, value, _), row in zip(lists, figures, strict=True)
    ]


def warm_cases(events: Sequence[Event]) -> list[Case]:
    """Returns the users with a positive in the last fifth of their events, in an order that depends on none of them."""
    rules = PreferenceRules()
    cases = []
    for _, split in sorted(per_user_chronological(by_user(events)).items()):
        relevant = frozenset(event.item_id for event in split.test if rules.signal(event) > 0)
        history = event_pb2.History(events=[_told(event) for event in (*split.train, *split.validation)[-1000:]])
        if relevant:
            cases.append(Case(history, relevant))
    return cases


async def test_version(stub: Any) -> str:
    """Returns the newest version of the warm protocol that has not seen the test part."""
    info = await stub.GetModelInfo(pb.GetModelInfoRequest())
    for one in info.versions:
        if (one.labels.get("protocol"), one.labels.get("stage")) == ("warm", "test"):
            return str(one.version)
    raise SystemExit("the ranker has no version of the warm protocol: run `fusionrec train`")


async def text_vectors(items: Sequence[Item], address: str) -> Vectors:
    """Returns centred vectors of length 1 of the items' texts."""
    async with connect_aio(address) as channel:
        stub = embedding_grpc.EmbeddingServiceStub(channel)
        rows = []
        for first in range(0, len(items), EMBED_BATCH):
            texts = [item_text(item) for item in items[first : first + EMBED_BATCH]]
            reply = await stub.Embed(embedding_pb.EmbedRequest(texts=texts), timeout=120)
            rows += [decode_vector(one.vector, "vector") for one in reply.embeddings]
    stacked = np.stack(rows) - np.mean(rows, axis=0)
    stacked /= np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-9)
    return {item.item_id: row for item, row in zip(items, stacked, strict=True)}


def head_items(events: Sequence[Event]) -> frozenset[str]:
    """Returns the most popular items, as many as have a fifth of the positives."""
    rules, counts = PreferenceRules(), dict[str, int]()
    for event in events:
        if rules.signal(event) > 0:
            counts[event.item_id] = counts.get(event.item_id, 0) + 1
    wanted, head = (1 - TAIL_SHARE) * sum(counts.values()), set[str]()
    for item_id, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        if wanted <= 0:
            break
        head.add(item_id)
        wanted -= count
    return frozenset(head)


async def _ask(stub: Any, version: str, cases: Sequence[Case], request: pb.RecommendRequest) -> list[list[str]]:
    permits = asyncio.Semaphore(CONCURRENCY)

    async def one(case: Case) -> list[str]:
        own = pb.RecommendRequest()
        own.CopyFrom(request)
        own.context.CopyFrom(pb.RankingContext(history=case.history, model_version=version))
        async with permits:
            reply = await stub.Recommend(own, timeout=30)
        if reply.degraded:
            raise SystemExit(f"an answer was degraded: {reply.degraded[0].reason}")
        return [result.item_id for result in reply.results]

    return list(await asyncio.gather(*(one(case) for case in cases)))


def _row(
    lists: Sequence[Sequence[str]],
    cases: Sequence[Case],
    items: Mapping[str, Item],
    vectors: Vectors,
    head: frozenset[str],
) -> dict[str, float]:
    shown = {item_id for one in lists for item_id in one}
    flat = [item_id for one in lists for item_id in one]
    pairs = list(zip(lists, cases, strict=True))
    return {
        "ndcg@10": mean(ndcg(one, case.relevant) for one, case in pairs),
        "ild_text": mean(_distance(one, lambda a, b: 1 - float(vectors[a] @ vectors[b])) for one in lists),
        "ild_genres": mean(_distance(one, lambda a, b: _jaccard(items[a], items[b])) for one in lists),
        "genres": mean(len({name for item_id in one for name in items[item_id].categories}) for one in lists),
        "kl": mean(_divergence(one, case, items) for one, case in pairs),
        "tail": round(sum(item_id not in head for item_id in flat) / max(len(flat), 1), 4),
        "catalogue": round(len(shown) / len(items), 4),
    }


def ndcg(shown: Sequence[str], relevant: frozenset[str]) -> float:
    """Returns NDCG of the first `K` places: gain 1 for each relevant item."""
    gains = sum(1 / math.log2(place + 2) for place, item_id in enumerate(shown[:K]) if item_id in relevant)
    return gains / sum(1 / math.log2(place + 2) for place in range(min(K, len(relevant))))


def _distance(shown: Sequence[str], distance: Callable[[str, str], float]) -> float:
    return mean(distance(a, b) for a, b in combinations(shown, 2))


def _jaccard(left: Item, right: Item) -> float:
    both, either = set(left.categories) & set(right.categories), set(left.categories) | set(right.categories)
    return 1 - len(both) / len(either) if either else 0.0


def _divergence(shown: Sequence[str], case: Case, items: Mapping[str, Item]) -> float:
    rules = PreferenceRules()
    liked = [one.item_id for one in case.history.events if one.value >= rules.positive_rating]
    wanted = category_mix(items[item_id].categories for item_id in liked if item_id in items)
    return divergence(wanted, [items[item_id].categories for item_id in shown])


def _told(event: Event) -> event_pb2.HistoryEvent:
    return event_pb2.HistoryEvent(
        item_id=event.item_id,
        type=event_pb2.EventType.ValueType(event.type),
        value=event.value,
        timestamp=encode_time(event.timestamp),
    )


def mean(values: Iterable[float]) -> float:
    """Returns the mean to four places; 0 of nothing."""
    known = list(values)
    return round(float(np.mean(known)), 4) if known else 0.0


def main() -> None:
    """Parses the command line, measures, prints JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranker", default="127.0.0.1:50054")
    parser.add_argument("--embedding", default="127.0.0.1:50052")
    parser.add_argument("--users", type=int, default=200)
    options = parser.parse_args()
    for row in uvloop.run(measure(options.ranker, options.embedding, users=options.users)):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
