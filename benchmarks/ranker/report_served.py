"""The parts that are measured over the wire, as Markdown, and what they must reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.candidates.report import table
from benchmarks.candidates.targets import Target
from benchmarks.ranker.exposure import BY_SCORE, SERVED
from benchmarks.ranker.served import best_source, to_best_source
from benchmarks.ranker.serving import AS_CALLED, COMPUTED, LOADED
from shared.data.splits import NEW_USER_HISTORIES, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Read = Callable[[dict[str, Any]], float]

NDCG = "ndcg@10"
CHAIN_SHARE = 0.4
P99_MS, SCORE_MS = 50.0, 3.0
SWAP_P99, LOSS = 2.0, 0.03
OVER_SOURCE = {Protocol.WARM: 1.15, Protocol.NEW_USERS: 1.03, Protocol.NEW_ITEMS: 1.0}


def _to_chain(load: str) -> Read:
    return lambda part: float(part["to_chain"][load][LOADED]["calls_per_s"])


def _p99(load: str) -> Read:
    return lambda part: float(part["loads"][load]["open_loop_at_half"]["p99_ms"])


def _slowest(part: Mapping[str, Any]) -> float:
    return max(float(one["p50"]) for one in part["scoring_us"].values()) / 1e3


def _failed(part: Mapping[str, Any]) -> float:
    return float(sum(one[phase]["failed"] for one in part["loads"].values() for phase in ("quiet", "swaps")))


def _to_quiet(load: str) -> Read:
    return lambda part: float(part["loads"][load]["p99_to_quiet"])


def _loss(phase: str) -> Read:
    return lambda part: float(part["phases"][phase]["loss"])


def _over(protocol: Protocol, key: str = NDCG) -> Read:
    return lambda part: to_best_source(part[protocol.value], key)


TARGETS = (
    *(
        Target("serving", f"Recommend, {load}: calls/s to the bare chain, 16 at once", _to_chain(load), CHAIN_SHARE)
        for load in (COMPUTED, AS_CALLED)
    ),
    *(
        Target("serving", f"Recommend, {load}: p99 at half that load, ms", _p99(load), at_most=P99_MS)
        for load in (COMPUTED, AS_CALLED)
    ),
    Target("serving", "stage score, 300 candidates, slowest fusion, p50 ms", _slowest, at_most=SCORE_MS),
    Target("swap", "failed calls, quiet and while versions are swapped", _failed, at_most=0),
    *(
        Target("swap", f"p99 while versions are swapped, to quiet, {load}", _to_quiet(load), at_most=SWAP_P99)
        for load in (COMPUTED, AS_CALLED)
    ),
    *(
        Target(
            "exposure",
            f"warm NDCG@10 lost to items without events, {phase}",
            _loss(phase),
            at_most=LOSS,
        )
        for phase in (SERVED, BY_SCORE)
    ),
    Target(
        "served", "served, warm: fusion to the best source", _over(Protocol.WARM), at_least=OVER_SOURCE[Protocol.WARM]
    ),
    *(
        Target(
            "served",
            f"served, new users after {length}: fusion to the best source",
            _over(Protocol.NEW_USERS, f"after {length}"),
            at_least=OVER_SOURCE[Protocol.NEW_USERS],
        )
        for length in NEW_USER_HISTORIES
    ),
    Target(
        "served",
        "served, new items: fusion to the best source",
        _over(Protocol.NEW_ITEMS),
        at_least=OVER_SOURCE[Protocol.NEW_ITEMS],
    ),
)


def _serving(part: Mapping[str, Any]) -> str:
    chains = {"bare chain": part["chain"], "bare chain, bytes like ours": part["chain_sized"]}
    rows = []
    for name, own in {**chains, **{name: one["closed_loop"] for name, one in part["loads"].items()}}.items():
        for load, one in own.items():
            ratios = [part[to].get(name, {}).get(load, {}).get("calls_per_s") for to in ("to_chain", "to_chain_sized")]
            rows.append([name, load, one["calls_per_s"], *ratios, one["p50_ms"], one["p99_ms"], one["failed"]])
    head = ["load", "", "calls/s", "to the chain", "to the chain of our bytes", "p50 ms", "p99 ms", "failed"]
    text = (
        f"Recommend, k = 20, 300 candidates. Our bytes: {part['inner_reply_bytes']} of candidates, then "
        f"{next(iter(part['loads'].values()))['reply_bytes']} of Recommend.\n\n{table(head, rows)}"
    )
    rows = []
    for name, one in part["loads"].items():
        half = one["open_loop_at_half"]
        degraded = ", ".join(f"{key} {count}" for key, count in one["degraded"].items())
        rows.append([name, *(half[key] for key in ("offered_per_s", "p50_ms", "p99_ms", "failed")), degraded])
    first = part["first_call_of_a_user"]
    times = f"p50 {first['p50_ms']} ms, p99 {first['p99_ms']} ms"
    text += f"\nBefore the loads as users call each user asked once, one at a time: {times}.\n"
    text += "\nOpen loop at half of what 16 at once reach:\n\n"
    text += table(["load", "calls/s", "p50 ms", "p99 ms", "failed", "degraded answers, all loops"], rows)
    stages = list(dict.fromkeys(stage for one in part["loads"].values() for stage in one["stage_us"]))
    rows = []
    for name, one in part["loads"].items():
        rows.append([name, *(_times(one["stage_us"].get(stage)) for stage in stages)])
    text += "\nTime per stage, µs, one call at a time, p50 / p99 (texts and sources run side by side):\n\n"
    text += table(["load", *stages], rows)
    text += "\nStage `score` (features, then the fusion) with each fusion, µs, one call at a time:\n\n"
    return text + table(["fusion", "p50", "p99"], [[name, *one.values()] for name, one in part["scoring_us"].items()])


def _times(one: Mapping[str, int] | None) -> str:
    return "" if one is None else f"{one['p50']} / {one['p99']}"


def _swap(part: Mapping[str, Any]) -> str:
    rows = []
    for name, one in part["loads"].items():
        for phase in ("quiet", "swaps"):
            own = one[phase]
            ratio = one["p99_to_quiet"] if phase == "swaps" else 1
            taken = one["published_to_first_answer_s"]
            times = ", ".join(map(str, (*taken["swaps"], *taken["roll_back"]))) if phase == "swaps" else ""
            cells = [own[key] for key in ("calls", "failed", "p50_ms", "p99_ms")]
            rows.append([name, phase, *cells, ratio, times])
    head = [
        "load",
        "",
        "calls",
        "failed",
        "p50 ms",
        "p99 ms",
        "p99 to quiet",
        "published to answering s, roll-back last",
    ]
    return (
        f"Open loop at a third of what can be computed: {part['offered_per_s']} of {part['capacity_per_s']} calls/s. "
        f"{part['swaps']} versions are published one after the other, each when the one before answers; then "
        f"`python -m services.ranker rollback`.\n\n{table(head, rows)}"
    )


def _exposure(part: Mapping[str, Any]) -> str:
    names = list(next(iter(part["phases"].values())))
    rows = [[name, *one.values()] for name, one in part["phases"].items()]
    return (
        f"{part['users']} warm users ({part['users_with_hidden']} like a hidden item), {part['items']} items with "
        f"events, {part['hidden']} hidden ones written after the training: {part['share_of_catalogue']:.1%} of the "
        f"catalogue. In the lists, settled, {part['settled_s']} s after that. Hit rates: users who like a hidden item, "
        f"and are shown one that they like. Loss: of NDCG@10, to the catalogue without them.\n\n"
        + table(["catalogue", *names], rows)
    )


def _served(part: Mapping[str, Any]) -> str:
    text = ""
    for protocol, own in part.items():
        lengths = [name for name in own["models"]["fusion"] if name.startswith("after")]
        best, value = best_source(own, NDCG)
        text += (
            f"**{protocol}**, {own['users']} users; fusion is {own['fusion']}: {to_best_source(own, NDCG):.3f} of the "
            f"best single source, {best} ({value:.4f}).\n\n"
        )
        keys = [name for name in own["models"]["fusion"] if name not in lengths]
        rows = [
            [name, *(one.get(key) for key in (*keys, *lengths))]
            for name, one in sorted(own["models"].items(), key=lambda one: -one[1][NDCG])
        ]
        text += table(["model", *keys, *lengths], rows) + "\n"
    return text


def _dials(part: Mapping[str, Any]) -> str:
    rows = part["rows"]
    return f"The first {part['users']} users; lists of 10 over the served path.\n\n" + table(
        rows[0], [one.values() for one in rows]
    )


SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "serving": _serving,
    "swap": _swap,
    "exposure": _exposure,
    "served": _served,
    "dials": _dials,
}
"""By part: its section, below the heading."""
