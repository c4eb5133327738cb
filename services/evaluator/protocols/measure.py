"""Asks one model all queries of a plan and computes its metrics."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.evaluator.metrics import MetricAt, evaluate
from services.evaluator.metrics.registry import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.evaluator.ports import Answer
    from services.evaluator.protocols.models import Model
    from services.evaluator.protocols.plan import Plan, Query


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one model.

    `metrics`: by "name@k". `by_history`: the same at each history length, where the protocol has several; `metrics` is
    their mean then. `degraded`: answers given without a component, by component. `short`: answers with fewer items
    than asked for. `invalid`: items that no answer may hold (twice the same, seen, not of the pool), over all answers;
    they are struck out before anything is computed, lest a faulty server gain by them. `unscored`: items put last for
    want of a score, over all answers.
    """

    metrics: dict[str, float]
    by_history: dict[int, dict[str, float]] = field(default_factory=dict)
    degraded: dict[str, int] = field(default_factory=dict)
    short: int = 0
    invalid: int = 0
    unscored: int = 0


async def measure(
    model: Model, plan: Plan, *, ks: Sequence[int], concurrency: int, on_done: Callable[[int], None]
) -> Measured:
    """Returns the model's metrics at every k of `ks`; tells `on_done` how many queries are answered.

    Raises:
        FusionrecError: a call over the served path failed: nothing is reported of a half-measured model.

    """
    answers = await _ask(model, plan.queries, concurrency, on_done)
    return await asyncio.to_thread(_compute, plan, answers, ks)


async def _ask(
    model: Model, queries: Sequence[Query], concurrency: int, on_done: Callable[[int], None]
) -> list[Answer]:
    answers: dict[int, Answer] = {}
    waiting = iter(enumerate(queries))

    async def worker() -> None:
        for index, query in waiting:
            answers[index] = await model.answer(query)
            on_done(len(answers))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())
    except ExceptionGroup as failed:
        # All workers ask the same servers: what the first one met is the reason.
        raise failed.exceptions[0] from failed
    return [answers[index] for index in range(len(queries))]


def _compute(plan: Plan, answers: Sequence[Answer], ks: Sequence[int]) -> Measured:
    metrics = [MetricAt(name, k) for k in ks for name in METRICS]
    allowed = frozenset(plan.catalogue if plan.pool is None else plan.pool)
    rankings = [_valid(answer.items, query, allowed) for query, answer in zip(plan.queries, answers, strict=True)]
    groups: dict[int | None, list[tuple[Query, Sequence[str]]]] = defaultdict(list)
    for query, ranking in zip(plan.queries, rankings, strict=True):
        groups[query.history_length].append((query, ranking))
    results = {length: _evaluate(own, metrics, len(allowed)) for length, own in groups.items()}
    degraded = Counter(component for answer in answers for component in set(answer.degraded))
    depth = min(max(ks), len(allowed))
    return Measured(
        metrics=_mean_of(list(results.values())),
        by_history=dict(sorted(_with_length(results).items())),
        degraded=dict(sorted(degraded.items())),
        short=sum(len(ranking) < depth for ranking in rankings),
        invalid=sum(len(answer.items) - len(ranking) for answer, ranking in zip(answers, rankings, strict=True)),
        unscored=sum(answer.unscored for answer in answers),
    )


def _valid(items: Sequence[str], query: Query, allowed: frozenset[str]) -> list[str]:
    return [item for item in dict.fromkeys(items) if item in allowed and item not in query.seen]


def _evaluate(
    asked: Sequence[tuple[Query, Sequence[str]]], metrics: Sequence[MetricAt], catalogue_size: int
) -> dict[str, float]:
    rankings = {query.user_id: ranking for query, ranking in asked}
    gains = {query.user_id: dict.fromkeys(query.relevant, 1.0) for query, _ in asked}
    return evaluate(rankings, gains, metrics, catalogue_size=catalogue_size).means


def _mean_of(results: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: math.fsum(one[name] for one in results) / len(results) for name in results[0]}


def _with_length(results: Mapping[int | None, dict[str, float]]) -> dict[int, dict[str, float]]:
    return {length: own for length, own in results.items() if length is not None}
