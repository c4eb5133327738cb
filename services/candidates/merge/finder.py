"""From a profile to merged candidates: asks the sources, fuses their lists, collects the evidence."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import structlog

from services.candidates.merge.evidence import Evidence, ranks_by_score, ranks_in_lists
from services.candidates.merge.fusion import fuse
from services.candidates.ports import Proposal
from services.candidates.queries import CandidateSet, SourceReport
from shared.data.nouns import SeenPolicy
from shared.errors import InvalidField
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from prometheus_client import Histogram

    from services.candidates.arrays import F32, F64, I64, Mask
    from services.candidates.ports import Source
    from services.candidates.profile import Profile
    from services.candidates.queries import CandidateQuery
    from services.candidates.versions.version import Version
    from shared.telemetry.stages import Stages

log = structlog.get_logger(__name__)

FAILED = "internal error; the server's log has it"


@dataclass(eq=False)
class _Asked:
    """A source during one call. What it raises is logged and named in its report; the others answer without it."""

    source: Source
    proposes: bool
    proposal: Proposal = field(default_factory=lambda: Proposal.nothing(""))
    seconds: float = 0.0
    failed: bool = False

    def propose(self, profile: Profile, n: int, allowed: Mask) -> None:
        if self.proposes and not self.failed:
            with self._guarded():
                self.proposal = self.source.propose(profile, n, allowed)

    def score(self, profile: Profile, rows: I64) -> F32:
        scores = np.full(len(rows), np.nan, np.float32)
        if not self.failed:
            with self._guarded():
                scores = self.source.score(profile, rows)
        return scores

    def report(self) -> SourceReport:
        """Returns what it did, once for the call; also tells the metrics."""
        _seconds_of(self.source.name).observe(self.seconds)
        reason = FAILED if self.failed else self.proposal.reason
        return SourceReport(self.source.name, len(self.proposal.rows), int(self.seconds * 1e6), self.failed, reason)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        except Exception:
            log.exception("source failed", source=self.source.name)
            self.failed = True
            self.proposal = Proposal.nothing(FAILED)
        self.seconds += time.perf_counter() - started


class CandidateFinder:
    """Answers with the models of one version. Pure computation: run it in a worker thread."""

    def __init__(self, *, per_source: int, rrf_k: int) -> None:
        self._per_source = per_source
        self._rrf_k = rrf_k

    def find(
        self, version: Version, query: CandidateQuery, profile: Profile, as_of: datetime, stages: Stages
    ) -> CandidateSet:
        """Returns the `query.k` best items that the query allows; fewer only when fewer are allowed.

        Raises:
            InvalidField: an unknown source.

        """
        asked = _ask(version, query.sources)
        with stages.stage("sources"):
            allowed = version.table.allowed(query.item_filter, as_of, _hidden(profile, query.seen_policy))
            rows, scores = self._propose(asked, profile, self._per_source, allowed)
            if len(rows) < query.k and self._per_source < query.k:
                rows, scores = self._propose(asked, profile, query.k, allowed)
        with stages.stage("merge"):
            rows, scores = rows[: query.k], scores[: query.k]
            ranks = ranks_in_lists([one.proposal.rows for one in asked], rows, len(allowed))
            evidence = Evidence(tuple(one.source.name for one in asked), ranks, _scores(asked, profile, rows))
            ids = [version.table.ids[row] for row in rows.tolist()]
            return CandidateSet(ids, scores, version.is_new(rows), evidence, tuple(one.report() for one in asked))

    def score(self, version: Version, query: CandidateQuery, profile: Profile, stages: Stages) -> CandidateSet:
        """Returns what the sources say of `query.score_item_ids`, in that order.

        Items that are not in the catalogue have no evidence. A rank is the place among the items of the query.

        Raises:
            InvalidField: an unknown source.

        """
        asked = _ask(version, query.sources)
        table = version.table
        rows = np.array([table.rows.get(item_id, -1) for item_id in query.score_item_ids], np.int64)
        rows[rows >= 0] = np.where(table.is_alive(rows[rows >= 0]), rows[rows >= 0], -1)
        known = np.flatnonzero(rows >= 0)
        with stages.stage("sources"):
            values = np.full((len(rows), len(asked)), np.nan, np.float32)
            values[known] = _scores(asked, profile, rows[known])
        with stages.stage("merge"):
            ranks = ranks_by_score(values)
            lists = np.array([one.proposes for one in asked], bool)
            placed = (ranks > 0) & lists
            merged = np.where(placed, 1.0 / (self._rrf_k + ranks), 0.0).sum(axis=1)
            is_new = np.zeros(len(rows), bool)
            is_new[known] = version.is_new(rows[known])
            evidence = Evidence(tuple(one.source.name for one in asked), ranks, values)
            reports = tuple(one.report() for one in asked)
            return CandidateSet(list(query.score_item_ids), merged, is_new, evidence, reports)

    def _propose(self, asked: Sequence[_Asked], profile: Profile, n: int, allowed: Mask) -> tuple[I64, F64]:
        for one in asked:
            one.propose(profile, n, allowed)
        return fuse([one.proposal.rows for one in asked], self._rrf_k)


@lru_cache(maxsize=64)
def _seconds_of(source: str) -> Histogram:
    # A look-up by labels takes a lock and longer than the observation.
    return metrics.SOURCE_SECONDS.labels(source)


def _ask(version: Version, names: Sequence[str]) -> list[_Asked]:
    """Returns the sources of these names, all when there are none; those asked for by name all propose.

    Raises:
        InvalidField: an unknown name; the message lists the valid ones.

    """
    for place, name in enumerate(names):
        if name not in version.sources:
            valid = f"one of {', '.join(version.sources)}"
            raise InvalidField(f"sources[{place}]", name, valid, "leave it empty to ask all")
    if names:
        return [_Asked(source, proposes=True) for name, source in version.sources.items() if name in names]
    return [_Asked(source, source.proposes) for source in version.sources.values()]


def _scores(asked: Sequence[_Asked], profile: Profile, rows: I64) -> F32:
    return np.stack([one.score(profile, rows) for one in asked], axis=1)


def _hidden(profile: Profile, policy: SeenPolicy) -> I64:
    if policy is SeenPolicy.HIDE_ALL_SEEN:
        return profile.seen
    return profile.bought if policy is SeenPolicy.HIDE_BOUGHT else np.zeros(0, np.int64)
