"""From a profile to merged candidates: asks the sources, fuses their lists, collects the evidence."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import structlog

from services.candidates.merge.evidence import Evidence, ranks_by_score, ranks_in_lists
from services.candidates.merge.fusion import fuse, with_places_kept
from services.candidates.ports import Proposal
from services.candidates.queries import CandidateSet, MergeMethod, SourceReport
from services.candidates.sources.nearest import NearestSource
from shared.data.nouns import SeenPolicy, temperature
from shared.errors import InvalidField, ModelMismatch
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from prometheus_client import Histogram

    from services.candidates.arrays import F32, F64, I64
    from services.candidates.index.allowed import Allowed
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

    def propose(self, profile: Profile, n: int, allowed: Allowed) -> None:
        if self.proposes and not self.failed:
            with self._guarded():
                self.proposal = self.source.propose(profile, n, allowed)

    def lengthen(self, profile: Profile, n: int, allowed: Allowed) -> None:
        """Puts the source's best of these items at the end of its list, until `n` of them are in it."""
        listed = self.proposal
        missing = n - int(np.count_nonzero(allowed.has(listed.rows)))
        if self.failed or missing <= 0:
            return
        with self._guarded():
            more = self.source.propose(profile, missing, allowed.without(listed.rows))
            rows = np.concatenate([listed.rows, more.rows])
            self.proposal = Proposal(rows, np.concatenate([listed.scores, more.scores]), listed.reason)

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
    """Answers with the models of one version. Pure computation: run it in a worker thread.

    Args:
        per_source: items that each source proposes; more when that is too few for the asked k.
        rrf_k: the constant of reciprocal rank fusion.
        weights: what a source's places weigh in the fusion; 1 for those not named.
        new_item_share: share of the asked places kept for items without events in the training data.
        late_item_share: share of the asked places kept for those of them that came after the training.
        default: names of the sources asked when a request names none; those that a version lacks are left out.
        by_quotas: requests that name no method are merged by learned quotas where the version has them.

    """

    def __init__(
        self,
        *,
        per_source: int,
        rrf_k: int,
        weights: Mapping[str, float] = MappingProxyType({}),
        new_item_share: float = 0.0,
        late_item_share: float = 0.0,
        default: Collection[str] = (),
        by_quotas: bool = False,
    ) -> None:
        self._per_source = per_source
        self._rrf_k = rrf_k
        self._weights = weights
        self._new_item_share = new_item_share
        self._late_item_share = late_item_share
        self._default = frozenset(default)
        self._by_quotas = by_quotas

    def proposes(self, source: Source) -> bool:
        """Returns whether a source proposes items to a request that names no sources."""
        return source.proposes and (not self._default or source.name in self._default)

    def find(
        self, version: Version, query: CandidateQuery, profile: Profile, as_of: datetime, stages: Stages
    ) -> CandidateSet:
        """Returns the `query.k` best items that the query allows; fewer only when fewer are allowed.

        Raises:
            InvalidField: an unknown source, or a filter on an unknown attribute.
            ModelMismatch: to be merged by quotas, which the version has not learned.

        """
        asked = self._ask(version, query.sources)
        method = self._method(version, query.merge_method)
        with stages.stage("sources"):
            version.table.check(query.item_filter)
            allowed = version.table.allowed(query.item_filter, as_of, _hidden(profile, query.seen_policy))
            self._propose(asked, profile, self._per_source, allowed)
            if self._per_source < query.k and _union(asked) < query.k:
                self._propose(asked, profile, query.k, allowed)
            if version.trained_rows < len(allowed):
                late = allowed.from_row(version.trained_rows)
                self._propose_late(asked, profile, math.ceil(self._late_item_share * query.k), late)
        with stages.stage("merge"):
            rows, scores = self._merge(version, asked, profile, query.k, method)
            ranks = ranks_in_lists([one.proposal.rows for one in asked], rows, len(allowed))
            evidence = Evidence(tuple(one.source.name for one in asked), ranks, _scores(asked, profile, rows))
            every_id = version.table.ids
            ids = [every_id[row] for row in rows.tolist()]
            reports = tuple(one.report() for one in asked)
            reason = "" if len(rows) == query.k else _shortage(allowed, version.table.alive_count, len(rows))
            return CandidateSet(ids, scores, version.is_new(rows), evidence, reports, method, reason)

    def score(self, version: Version, query: CandidateQuery, profile: Profile, stages: Stages) -> CandidateSet:
        """Returns what the sources say of `query.score_item_ids`, in that order.

        Items that are not in the catalogue have no evidence. A rank is the place among the items of the query.

        Raises:
            InvalidField: an unknown source.

        """
        asked = self._ask(version, query.sources)
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
            weights = np.array([self._weights.get(one.source.name, 1.0) for one in asked])
            placed = (ranks > 0) & lists
            merged = np.where(placed, weights / (self._rrf_k + ranks), 0.0).sum(axis=1)
            is_new = np.zeros(len(rows), bool)
            is_new[known] = version.is_new(rows[known])
            evidence = Evidence(tuple(one.source.name for one in asked), ranks, values)
            reports = tuple(one.report() for one in asked)
            return CandidateSet(list(query.score_item_ids), merged, is_new, evidence, reports)

    def _propose(self, asked: Sequence[_Asked], profile: Profile, n: int, allowed: Allowed) -> None:
        for one in asked:
            one.propose(profile, n, allowed)

    def _propose_late(self, asked: Sequence[_Asked], profile: Profile, n: int, late: Allowed) -> None:
        """Adds the best items that came after the training to the lists of the sources that can speak for them.

        Among all items they are outnumbered, and would not come into the lists that their places are filled from.
        """
        for one in asked:
            if isinstance(one.source, NearestSource) and one.proposes:
                one.lengthen(profile, n, late)

    def _method(self, version: Version, wanted: MergeMethod) -> MergeMethod:
        if wanted is MergeMethod.QUOTAS and version.quotas is None:
            raise ModelMismatch(
                f"candidates {version.about.version} has learned no quotas: train with CANDIDATES_LEARN_QUOTAS=true, "
                "or merge by reciprocal rank"
            )
        if wanted is MergeMethod.UNSPECIFIED:
            by_quotas = self._by_quotas and version.quotas is not None
            return MergeMethod.QUOTAS if by_quotas else MergeMethod.RECIPROCAL_RANK
        return wanted

    def _merge(
        self, version: Version, asked: Sequence[_Asked], profile: Profile, k: int, method: MergeMethod
    ) -> tuple[I64, F64]:
        if method is MergeMethod.QUOTAS and version.quotas is not None:
            lists = {one.source.name: one.proposal.rows for one in asked if one.proposes}
            return version.quotas.merge(lists, k, temperature(profile.events), self._rrf_k)
        weights = [self._weights.get(one.source.name, 1.0) for one in asked]
        rows, scores = fuse([one.proposal.rows for one in asked], self._rrf_k, weights)
        is_new = version.is_new(rows)
        kept = [(is_new & (rows >= version.trained_rows), self._late_item_share), (is_new, self._new_item_share)]
        return with_places_kept(rows, scores, k, kept)

    def _ask(self, version: Version, names: Sequence[str]) -> list[_Asked]:
        """Returns the sources of these names, the default ones when there are none; those asked by name all propose.

        Raises:
            InvalidField: an unknown name; the message lists the valid ones.

        """
        for place, name in enumerate(names):
            if name not in version.sources:
                valid = f"one of {', '.join(version.sources)}"
                raise InvalidField(f"sources[{place}]", name, valid, "leave it empty to ask the usual ones")
        if names:
            return [_Asked(source, proposes=True) for name, source in version.sources.items() if name in names]
        usual = [source for name, source in version.sources.items() if name in self._default]
        return [_Asked(source, source.proposes) for source in usual or version.sources.values()]


@lru_cache(maxsize=64)
def _seconds_of(source: str) -> Histogram:
    # A look-up by labels takes a lock and longer than the observation.
    return metrics.SOURCE_SECONDS.labels(source)


def _union(asked: Sequence[_Asked]) -> int:
    return len(np.unique(np.concatenate([one.proposal.rows for one in asked]))) if asked else 0


def _shortage(allowed: Allowed, catalogue: int, found: int) -> str:
    if not catalogue:
        return "the catalogue is empty"
    if allowed.count <= found:
        return f"the filter and the seen policy leave {allowed.count} of {catalogue} items"
    return f"the asked sources know {found} of the {allowed.count} allowed items"


def _scores(asked: Sequence[_Asked], profile: Profile, rows: I64) -> F32:
    return np.stack([one.score(profile, rows) for one in asked], axis=1)


def _hidden(profile: Profile, policy: SeenPolicy) -> I64:
    if policy is SeenPolicy.HIDE_ALL_SEEN:
        return profile.seen
    return profile.bought if policy is SeenPolicy.HIDE_BOUGHT else np.zeros(0, np.int64)
