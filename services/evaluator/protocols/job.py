"""The job: one protocol, measured over the served path, as a report."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from services.evaluator.protocols.measure import measure
from services.evaluator.protocols.models import FUSION, served_models
from services.evaluator.protocols.new_items import plan_new_items
from services.evaluator.protocols.new_users import plan_new_users
from services.evaluator.protocols.plan import rules_in_words
from services.evaluator.protocols.versions import find_versions
from services.evaluator.protocols.warm import plan_warm
from services.evaluator.reports.report import HEADLINE_K, Report
from shared.data.splits import Protocol
from shared.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.evaluator.ports import Candidates, EventLog, LogSnapshot, Ranker
    from services.evaluator.protocols.measure import Measured
    from services.evaluator.protocols.plan import Plan
    from services.evaluator.protocols.versions import Measurable
    from shared.data.preferences import PreferenceRules
    from shared.telemetry.progress import JobProgress

PLANS: Mapping[Protocol, Callable[[LogSnapshot, PreferenceRules], Plan]] = {
    Protocol.WARM: plan_warm,
    Protocol.NEW_ITEMS: plan_new_items,
    Protocol.NEW_USERS: plan_new_users,
}


@dataclass(frozen=True)
class EvaluationJob:
    """Runs protocols against the running services.

    `ks`: cut-offs of the metrics, ascending; the last one is the depth of the rankings. `concurrency`: calls in flight.
    """

    ranker: Ranker
    candidates: Candidates
    log: EventLog
    progress: JobProgress
    rules: PreferenceRules
    ks: Sequence[int]
    concurrency: int
    seed: int

    async def run(self, protocol: Protocol, *, all_variants: bool = True) -> Report:
        """Returns the report of one protocol; of the fusions only the default one unless `all_variants`.

        Raises:
            ModelNotReady: no versions of the protocol's test stage are loaded.
            ModelMismatch: the versions do not fit together.
            NotFound: the log holds no user with anything to foretell.
            DependencyUnavailable: ingestion, candidates or ranker does not answer.

        """
        versions = await find_versions(protocol, self.ranker, self.candidates)
        snapshot = await self._read(versions.ranker.data_sequence)
        plan = await asyncio.to_thread(PLANS[protocol], snapshot, self.rules)
        if not plan.queries:
            raise NotFound(f"no user of the {len(snapshot.events)} events has a relevant test item: import more events")
        measured = await self._measure_all(plan, versions, all_variants=all_variants)
        return self._report(plan, snapshot, versions, measured)

    async def _read(self, up_to: int) -> LogSnapshot:
        read = 0

        def on_records(count: int) -> None:
            nonlocal read
            read += count
            self.progress.update("read log", read, 0)

        return await self.log.read(up_to, on_records)

    async def _measure_all(self, plan: Plan, versions: Measurable, *, all_variants: bool) -> dict[str, Measured]:
        models = served_models(
            plan,
            ranker=self.ranker,
            ranker_version=versions.ranker.version,
            ranker_info=versions.ranker_info,
            candidates=self.candidates,
            candidates_version=versions.candidates.version,
            candidates_info=versions.candidates_info,
            all_variants=all_variants,
            depth=max(self.ks),
            seed=self.seed,
        )
        measured = {}
        for model in models:
            on_done = partial(self._measuring, model.name, len(plan.queries))
            measured[model.name] = await measure(model, plan, ks=self.ks, concurrency=self.concurrency, on_done=on_done)
        return measured

    def _measuring(self, model: str, total: int, done: int) -> None:
        self.progress.update(f"measure {model}", done, total)

    def _report(self, plan: Plan, snapshot: LogSnapshot, versions: Measurable, measured: dict[str, Measured]) -> Report:
        return Report(
            protocol=plan.protocol,
            k=HEADLINE_K,
            users=plan.users,
            versions=versions.names,
            models=measured,
            protocol_text=self._in_words(plan),
            created_at=datetime.now(UTC),
            data={
                "sequence": snapshot.sequence,
                "events": len(snapshot.events),
                "catalogue_items": len(plan.catalogue),
                "queries": len(plan.queries),
                **plan.facts,
            },
            variants={FUSION: versions.ranker_info.default_variant},
        )

    def _in_words(self, plan: Plan) -> str:
        users = f"Mean over the {plan.users} users with at least one relevant item."
        ndcg = "NDCG has gain 1 for every relevant item and the ideal DCG of min(k, relevant) items."
        asked = (
            "Every model is asked over gRPC with its version pinned and the history in the request, as of a "
            "microsecond after the newest event of that history."
        )
        return " ".join((plan.split, rules_in_words(self.rules), users, ndcg, asked))
