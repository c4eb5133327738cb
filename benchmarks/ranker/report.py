"""The figures of the ranker as Markdown, and what they must reach; those over the wire are in `report_served`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.candidates.report import table
from benchmarks.candidates.targets import Target, Verdict
from benchmarks.ranker import report_served
from shared.data.splits import NEW_USER_HISTORIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NDCG = "ndcg@10"
POPULARITY = {1: 0.324, 3: 0.309, 5: 0.304, 10: 0.286}
"""NDCG@10 of popularity for new users, by number of events: the best single source there."""
OVER_POPULARITY = 1.03
WARM_AT_LEAST = 0.140


def _best(key: str) -> Callable[[dict[str, Any]], float]:
    return lambda part: max(float(one[key]) for one in part["fusions"].values())


def _slowest(part: dict[str, Any]) -> float:
    return max(float(one["score_300_ms"]) for one in part["fusions"].values())


def _least_exact(part: dict[str, Any]) -> float:
    return max(float(one["worst"]) for one in part["fusions"].values())


TARGETS = (
    Target("warm", "warm NDCG@10, best fusion", _best(NDCG), at_least=WARM_AT_LEAST),
    *(
        Target("new-users", f"new users after {n}, best fusion", _best(f"after {n}"), at_least=OVER_POPULARITY * value)
        for n, value in POPULARITY.items()
    ),
    Target("warm", "contributions of 1,000 results, worst relative error", _least_exact, at_most=1e-4),
    Target("warm", "scoring of 300 candidates, slowest fusion, p50 ms", _slowest, at_most=3.0),
    *report_served.TARGETS,
)


def verdicts(parts: Mapping[str, Any]) -> list[Verdict]:
    """Returns what each target says of the parts that were measured."""
    return [target.verdict(parts[target.part]) for target in TARGETS if target.part in parts]


def markdown(run: Mapping[str, Any]) -> str:
    """Returns the page: what is met, then a section for each part, with the run that it is of."""
    page = "# Figures of the ranker\n\n"
    page += ", ".join(f"{name} {value}" for name, value in run["environment"].items()) + "\n\n"
    parts, measured = run["parts"], run.get("measured", {})
    if run["small"]:
        page += "A quick run on a slice of the data: no figure here says anything about the targets.\n"
    else:
        rows = [
            [one.name, f"{one.value:.4g}", one.bound, "met" if one.met else "**missed**"] for one in verdicts(parts)
        ]
        page += table(["target", "measured", "bound", ""], rows)
    for name, part in parts.items():
        own = measured.get(name)
        when = f"Measured {own['at']}, commit {own['commit']}.\n\n" if own else ""
        page += f"\n## {name}\n\n{when}{SECTIONS.get(name, _part)(part)}"
    return page


def _part(part: Mapping[str, Any]) -> str:
    lengths = [f"after {n}" for n in NEW_USER_HISTORIES]
    shown = [NDCG, *(name for name in lengths if any(name in one for one in part["fusions"].values()))]
    rest = ["fit_s", "score_300_ms", "contributions_p50_ms", "worst"]
    rows = []
    for name, one in part["fusions"].items():
        validation = one["validation"]
        held = [validation[NDCG], *(validation.get(f"{NDCG} {kind}") for kind in ("warm", "cold-user", "new-items"))]
        rows.append(
            [name, *(one.get(key) for key in shown), *held, *(one[key] for key in rest[:-1]), f"{one['worst']:.1g}"]
        )
    head = ["fusion", *shown, "validation", "warm", "cold user", "new items", *rest]
    return f"{part['training_lists']} lists to learn from, {part['test_lists']} measured on.\n\n" + table(head, rows)


def _ablations(part: Mapping[str, Any]) -> str:
    keys = [NDCG, f"{NDCG} warm", f"{NDCG} cold-user", f"{NDCG} new-items"]
    rows = [[name, *(one.get(key) for key in keys)] for name, one in part.items()]
    return "gbdt, fitted anew each time.\n\n" + table(["", "test", "validation warm", "cold user", "new items"], rows)


SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"ablations": _ablations, **report_served.SECTIONS}
"""By part; the others are protocols."""
