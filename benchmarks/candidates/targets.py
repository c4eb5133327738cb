"""What the figures of the candidates service must reach; each target names the part whose figures it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.candidates.writes import AS_CALLED, COMPUTED, PHASES
from services.candidates.index.choice import choose_type
from services.candidates.index.parameters import IndexParameters

if TYPE_CHECKING:
    from collections.abc import Callable

SLACK = 0.98
"""Quality of a single source may be 2 % below its figure."""
NDCG, RECALL = "ndcg@10", "recall@300"


@dataclass(frozen=True)
class Target:
    """A figure and its bound: `at_least`, or `at_most`."""

    part: str
    name: str
    read: Callable[[dict[str, Any]], float]
    at_least: float | None = None
    at_most: float | None = None

    def verdict(self, figures: dict[str, Any]) -> Verdict:
        """Compares the figures of the part with the bound; a figure that is not there is a miss."""
        try:
            value = float(self.read(figures))
        except (KeyError, TypeError, ValueError, IndexError):
            value = float("nan")
        met = self.at_least is None or value >= self.at_least
        met = met and (self.at_most is None or value <= self.at_most)
        bound = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        return Verdict(self.name, value, bound, met)


@dataclass(frozen=True)
class Verdict:
    """Whether a target is met. A value that is not a number meets nothing."""

    name: str
    value: float
    bound: str
    met: bool


def _source(name: str) -> Callable[[dict[str, Any]], float]:
    return lambda figures: figures["warm"]["sources"][name][NDCG]


def _rounds(name: str, worst: Callable[[list[float]], float]) -> Callable[[dict[str, Any]], float]:
    return lambda figures: worst([one[name] for one in figures["two_way"]["rounds"]])


def _failed(figures: dict[str, Any]) -> float:
    return float(sum(load[phase]["failed"] for load in figures["loads"].values() for phase in PHASES))


def _to_quiet(load: str) -> Callable[[dict[str, Any]], float]:
    return lambda figures: figures["loads"][load]["writes"]["p99_to_quiet"]


def _swaps_failed(figures: dict[str, Any]) -> float:
    return float(sum(figures[name]["failed"] for name in ("swap_after_training", "swap_alone")))


def _to_echo(load: str, concurrency: int) -> Callable[[dict[str, Any]], float]:
    return lambda figures: figures["to_echo"][load][f"concurrency {concurrency}"]["calls_per_s"]


def _chosen(name: str) -> Callable[[dict[str, Any]], float]:
    return lambda figures: figures[_type(figures)][name]


def _fewest(figures: dict[str, Any]) -> float:
    return float(figures[_type(figures)]["filters"]["0.01"]["fewest"])


def _type(figures: dict[str, Any]) -> str:
    return choose_type(figures["vectors"], figures["dim"], IndexParameters())


TARGETS = (
    Target("quality", "item_knn, warm NDCG@10", _source("item_knn"), at_least=SLACK * 0.098),
    Target("quality", "user_knn, warm NDCG@10", _source("user_knn"), at_least=SLACK * 0.095),
    Target("quality", "item_item (EASE), warm NDCG@10", _source("item_item"), at_least=SLACK * 0.122),
    Target("quality", "als, warm NDCG@10", _source("als"), at_least=0.115),
    Target(
        "quality",
        "union of the default sources, warm recall at 300",
        lambda figures: figures["warm"]["union"]["default sources"],
        at_least=0.64,
    ),
    Target(
        "quality",
        "aligned_text, NDCG@10 among hidden items",
        lambda figures: figures["new_items"]["sources"]["aligned_text"][NDCG],
        at_least=0.20,
    ),
    Target("serving", "k = 300, default settings, calls/s to echo, 16 at once", _to_echo("default settings", 16), 0.5),
    Target("serving", "k = 300, no kept answers, calls/s to echo, 16 at once", _to_echo("no kept answers", 16), 0.5),
    *(
        Target("writes", f"p99 under 1,000 events/s and 10 new items/s, to quiet, {load}", _to_quiet(load), at_most=2.0)
        for load in (COMPUTED, AS_CALLED)
    ),
    Target("writes", "failed calls, quiet and under writes", _failed, at_most=0),
    Target("writes", "failed calls while versions are swapped", _swaps_failed, at_most=0),
    Target("writes", "failed calls of two-way writes", _rounds("failed", sum), at_most=0),
    Target("writes", "deleted item gone, worst, seconds", _rounds("deleted_s", max), at_most=1.0),
    Target("writes", "new item among the candidates, worst, seconds", _rounds("added_s", max), at_most=1.0),
    Target("index", "recall at 100 of the type that is chosen", _chosen("recall_at_100"), at_least=0.95),
    Target("index", "flat's time over that of the type that is chosen", _chosen("flat_over_this"), at_least=20.0),
    Target("index", "fewest of 100 under a 1 % filter", _fewest, at_least=100),
    Target(
        "overhead",
        "fewest of 100 under a 1 % filter, the service",
        lambda figures: min(figures["fewest_of_100"].values()),
        at_least=100,
    ),
)


def verdicts(parts: dict[str, Any]) -> list[Verdict]:
    """Returns the verdicts on the parts that were measured."""
    return [target.verdict(parts[target.part]) for target in TARGETS if target.part in parts]
