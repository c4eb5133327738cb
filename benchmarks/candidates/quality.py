"""What every source is worth on MovieLens, and what their union finds: full ranking, no sampled metrics.

Warm: fitted on each user's first ceil(0.8 n) events, measured on the later positives. New items: a fifth of the items
is hidden from every fit, and ranked among themselves. The splits are those of `shared/data/splits.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import uvloop

from benchmarks.candidates import fitting
from services.candidates.bootstrap import make_finder
from services.candidates.index.allowed import Allowed
from services.candidates.profile import build_profile
from services.candidates.queries import CandidateQuery, MergeMethod
from services.candidates.sources.registry import NAMES
from services.candidates.sources.views import VIEW_NAMES
from shared.data.splits import by_user, hidden_items, per_user_chronological
from shared.telemetry.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.candidates.data import Data
    from services.candidates.arrays import F64, I64, Mask
    from services.candidates.merge.finder import CandidateFinder
    from services.candidates.ports import Source
    from services.candidates.profile import Profile
    from services.candidates.sources.aligned_text import ItemTexts
    from services.candidates.training.likes import Likes
    from services.candidates.versions.version import Version
    from shared.data.nouns import Event

CUT, DEEP = 10, 300
TIMED_USERS = 100
FROM_TEXT = ("aligned_text", "content", "two_tower")
"""Sources that can say something of an item without events."""
_DISCOUNT: F64 = 1 / np.log2(np.arange(2, CUT + 2))


@dataclass(frozen=True)
class Case:
    """A user's visible events and the items that are relevant afterwards."""

    user_id: str
    history: Sequence[Event]
    relevant: frozenset[str]

    @property
    def asked_at(self) -> float:
        """The moment after the history, unix seconds."""
        return self.history[-1].timestamp.timestamp() if self.history else 0.0


def warm_cases(data: Data) -> list[Case]:
    """Returns the users with a positive in the last fifth of their events."""
    splits = per_user_chronological(by_user(data.events))
    made = (Case(user, (*one.train, *one.validation), _positives(one.test)) for user, one in splits.items())
    return [case for case in made if case.relevant]


def new_item_cases(data: Data, hidden: frozenset[str]) -> list[Case]:
    """Returns the users with a positive among the hidden items."""
    cases = []
    for user, own in by_user(data.events).items():
        relevant = _positives([event for event in own if event.item_id in hidden])
        cases.append(Case(user, [event for event in own if event.item_id not in hidden], relevant))
    return [case for case in cases if case.relevant]


def measure(data: Data, embedding: str) -> dict[str, Any]:
    """Returns the figures of both protocols; `embedding` is the address of the embedding service."""
    splits = per_user_chronological(by_user(data.events)).values()
    hidden = hidden_items(event for event in data.events if fitting.is_positive(event))
    warm_events = [event for split in splits for event in (*split.train, *split.validation)]
    warm = fitting.judged(warm_events, data.items)
    visible = fitting.judged([event for event in data.events if event.item_id not in hidden], data.items)
    texts = uvloop.run(fitting.vectors(data.items, [warm, visible], embedding))
    return {
        "warm": _warm(data, texts, warm, warm_events),
        "new_items": _new_items(data, texts, visible, hidden),
    }


def _warm(data: Data, texts: ItemTexts, likes: Likes, events: Sequence[Event]) -> dict[str, Any]:
    cases = warm_cases(data)
    fitted = fitting.fit(data.items, texts, likes, NAMES)
    version = fitted.version(fitting.learn_quotas(data.items, texts, events))
    sources = {
        name: {
            "fit_s": fitted.seconds.get(name),
            **source_quality(version, source, cases),
            **source_times(version, source, cases),
        }
        for name, source in version.sources.items()
        if name not in VIEW_NAMES
    }
    return {"users": len(cases), "sources": sources, "union": union_recall(version, cases)}


def _new_items(data: Data, texts: ItemTexts, likes: Likes, hidden: frozenset[str]) -> dict[str, Any]:
    cases = new_item_cases(data, hidden)
    version = fitting.fit(data.items, texts, likes, FROM_TEXT).version()
    pool = np.array([version.table.rows[item_id] for item_id in sorted(hidden)])
    sources = {name: source_quality(version, version.sources[name], cases, pool) for name in FROM_TEXT}
    return {"users": len(cases), "hidden": len(hidden), "sources": sources}


def source_quality(version: Version, source: Source, cases: Sequence[Case], pool: I64 | None = None) -> dict[str, Any]:
    """Returns NDCG@10 and recall@300 of a source's own list over all items or those of `pool`: means over the cases."""
    ndcg, recall = [], []
    for case in cases:
        profile = profile_of(version, case)
        rows = source.propose(profile, DEEP, _unseen(version, profile, pool)).rows
        hits: Mask = np.isin(rows, [version.table.rows[item_id] for item_id in case.relevant])
        ideal = _DISCOUNT[: min(CUT, len(case.relevant))].sum()
        ndcg.append((_DISCOUNT[: len(hits[:CUT])] * hits[:CUT]).sum() / ideal)
        recall.append(hits.sum() / len(case.relevant))
    return {f"ndcg@{CUT}": round(float(np.mean(ndcg)), 4), f"recall@{DEEP}": round(float(np.mean(recall)), 4)}


def source_times(version: Version, source: Source, cases: Sequence[Case]) -> dict[str, Any]:
    """Returns median microseconds of proposing as many items as the service asks for, and of scoring 300 items.

    The first call for a profile, which folds the user in, and the next one for the same history.
    """
    n = fitting.SETTINGS.per_source
    first, again, score = [], [], []
    for case in cases[:TIMED_USERS]:
        profile = profile_of(version, case)
        allowed = _unseen(version, profile, None)
        rows = allowed.rows[:: max(1, allowed.count // DEEP)][:DEEP]
        first.append(_microseconds(lambda: source.propose(profile, n, allowed)))  # noqa: B023 (called at once)
        profile.shrink()
        again.append(_microseconds(lambda: source.propose(profile, n, allowed)))  # noqa: B023 (called at once)
        score.append(_microseconds(lambda: source.score(profile, rows)))  # noqa: B023 (called at once)
    return {
        "propose_first_us": int(np.median(first)),
        "propose_again_us": int(np.median(again)),
        "score_300_us": int(np.median(score)),
    }


def union_recall(version: Version, cases: Sequence[Case]) -> dict[str, Any]:
    """Returns the share of the relevant items among the 300 merged candidates, the mean over the cases, by merge."""
    settings = fitting.SETTINGS
    finder = make_finder(settings)
    every = tuple(name for name, source in version.sources.items() if source.proposes)
    return {
        "default sources": _recall(version, cases, finder),
        "default sources, quotas": _recall(version, cases, finder, method=MergeMethod.QUOTAS),
        "every source": _recall(version, cases, finder, every),
        "asked by default": [name for name in settings.asked_sources if name in every],
    }


def _recall(
    version: Version,
    cases: Sequence[Case],
    finder: CandidateFinder,
    sources: tuple[str, ...] = (),
    method: MergeMethod = MergeMethod.RECIPROCAL_RANK,
) -> float:
    recall = []
    for case in cases:
        query = CandidateQuery(case.user_id, None, DEEP, sources, merge_method=method)
        profile = profile_of(version, case)
        found = finder.find(version, query, profile, case.history[-1].timestamp, Stages("candidates")).item_ids
        recall.append(len(case.relevant.intersection(found)) / len(case.relevant))
    return round(float(np.mean(recall)), 4)


def profile_of(version: Version, case: Case) -> Profile:
    """Returns what the sources see of a user."""
    rules = fitting.SETTINGS.rules
    return build_profile(case.history, version.table.rows, rules, asked_at=case.asked_at, user_id=case.user_id)


def _unseen(version: Version, profile: Profile, pool: I64 | None) -> Allowed:
    mask = np.zeros(len(version.table), bool)
    mask[slice(None) if pool is None else pool] = True
    mask[profile.seen] = False
    return Allowed(mask)


def _positives(events: Sequence[Event]) -> frozenset[str]:
    return frozenset(event.item_id for event in events if fitting.is_positive(event))


def _microseconds(call: Any) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e6
