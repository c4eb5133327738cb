"""What the evaluator measures over the served path: the default fusion and every single source, protocol by protocol.

The job is the evaluator's own, as `fusionrec evaluate` runs it; its report keeps who was measured and how, in words.
"""

from __future__ import annotations

import json
import os
import tempfile
from typing import TYPE_CHECKING, Any

from benchmarks.ranker.world import run, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.ranker.world import World
    from shared.data.splits import Protocol

METRICS = ("ndcg@10", "precision@10", "recall@20", "hit_rate@10", "mrr@10", "coverage@10")
FUSION, FLOOR = "fusion", "random"
CONCURRENCY = 8


def measure(world: World, protocols: Sequence[Protocol]) -> dict[str, Any]:
    """Returns the evaluator's figures by protocol."""
    with world.served() as served, tempfile.TemporaryDirectory(prefix="reports-") as reports:
        environment = {
            **os.environ,
            "EVALUATOR_INGESTION_ADDRESS": world.fleet.ingestion.address,
            "EVALUATOR_CANDIDATES_ADDRESS": served.candidates.address,
            "EVALUATOR_RANKER_ADDRESS": served.ranker.address,
            "EVALUATOR_ARTIFACTS": reports,
            "EVALUATOR_CONCURRENCY": str(CONCURRENCY),
        }
        return {one.value: _measured(one, environment) for one in protocols}


def _measured(protocol: Protocol, environment: Mapping[str, str]) -> dict[str, Any]:
    say(f"served: {protocol.value}")
    arguments = ["run", "--protocol", protocol.value, "--variants", "default", "--json", "--progress", "json"]
    report = json.loads(run("services.evaluator", arguments, environment))
    return {
        "users": report["users"],
        "fusion": report["variants"].get(FUSION, ""),
        "warnings": report["warnings"],
        "models": {name: _figures(one) for name, one in report["models"].items()},
    }


def _figures(model: Mapping[str, Any]) -> dict[str, float]:
    own = {name: round(model[name], 4) for name in METRICS if name in model}
    lengths = model.get("by_history", {})
    return own | {f"after {length}": round(one["ndcg@10"], 4) for length, one in lengths.items()}


def best_source(part: Mapping[str, Any], key: str) -> tuple[str, float]:
    """Returns the single source that is best by this figure, and its figure."""
    own = {name: float(one[key]) for name, one in part["models"].items() if name not in (FUSION, FLOOR)}
    best = max(own, key=lambda name: own[name])
    return best, own[best]


def to_best_source(part: Mapping[str, Any], key: str) -> float:
    """Returns the fusion's figure over that of the best single source."""
    return float(part["models"][FUSION][key]) / best_source(part, key)[1]
