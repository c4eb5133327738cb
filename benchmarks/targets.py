"""What the figures must reach."""

from __future__ import annotations

from typing import Any

WARM_FUSION = 0.135
NEW_ITEMS_FUSION = 0.18
METRIC = "ndcg@10"


def missed(figures: dict[str, Any]) -> list[str]:
    """Returns a line for every target that the figures of a run miss."""
    quality = figures["quality"]
    warm, new_items, new_users = (
        quality["models"],
        quality["protocols"]["new-items"]["models"],
        quality["protocols"]["new-users"]["models"],
    )
    checks = {
        f"warm: fusion >= {WARM_FUSION}": warm["fusion"][METRIC] >= WARM_FUSION,
        "warm: fusion above every source": warm["fusion"][METRIC] > _best_source(warm),
        f"new items: fusion >= {NEW_ITEMS_FUSION}": new_items["fusion"][METRIC] >= NEW_ITEMS_FUSION,
    }
    for length, metrics in new_users["fusion"]["by_history"].items():
        popular = new_users["popular"]["by_history"][length][METRIC]
        checks[f"new users after {length}: fusion not below popular"] = metrics[METRIC] >= popular
    return [f"missed: {name}" for name, met in checks.items() if not met]


def _best_source(models: dict[str, Any]) -> float:
    return max(float(metrics[METRIC]) for name, metrics in models.items() if not name.startswith("fusion"))
