"""Training time and memory of every source at 1, 3 and 10 million events of made-up users (`synthetic.py`).

Each fit runs in a process of its own. Its memory is the peak while it fits, less what the process held before: the
likes and, where the kind reads them, vectors of texts. Models that a kind needs are those fitted before it. A kind
that takes longer than the limit, or that ends for want of memory, is reported as that, and not tried at larger sizes.

    python -m benchmarks.candidates --only scale --events 1 3
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from itertools import pairwise
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.candidates.fit_one import SEED
from benchmarks.candidates.fleet import run_child
from benchmarks.candidates.synthetic import Size, draw
from services.candidates.sources.registry import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.candidates.sources.kind import SourceKind

SIZES = {
    1: Size(1_000_000, 100_000, 20_000),
    3: Size(3_000_000, 300_000, 50_000),
    10: Size(10_000_000, 1_000_000, 100_000),
}
"""By millions of events."""
SMALL = {1: Size(20_000, 2_000, 1_000), 3: Size(60_000, 6_000, 2_000)}
LIMIT_S = 1_200.0
LEAST = {"fit_s": 0.1, "peak_mb": 20}
"""Growth from less than this says nothing: seconds and MB."""


def measure(sizes: Mapping[int, Size], names: Sequence[str] = (), limit_s: float = LIMIT_S) -> dict[str, Any]:
    """Fits the kinds of these names, all without one, at these sizes; returns figures by size and growth by kind."""
    kinds = [kind for kind in KINDS if not names or kind.name in names]
    given_up: set[str] = set()
    by_size: dict[str, Any] = {}
    for millions, size in sizes.items():
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            by_size[str(millions)] = _measure_size(Path(folder), size, kinds, given_up, limit_s)
    return {"limit_s": limit_s, "sizes": by_size, "growth": growth(by_size)}


def growth(by_size: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Returns, by kind, the powers of the number of likes with which time and memory grew from size to size."""
    grown: dict[str, dict[str, list[float]]] = {}
    for smaller, larger in pairwise(by_size.values()):
        likes = log(larger["likes"] / smaller["likes"])
        for name, now in larger["kinds"].items():
            before = smaller["kinds"].get(name, {})
            for figure, least in LEAST.items():
                if before.get(figure, 0.0) >= least and now.get(figure):
                    power = round(log(now[figure] / before[figure]) / likes, 2)
                    grown.setdefault(name, {}).setdefault(figure, []).append(power)
    return grown


def _measure_size(
    folder: Path, size: Size, kinds: Sequence[SourceKind], given_up: set[str], limit_s: float
) -> dict[str, Any]:
    started = time.perf_counter()
    draws = draw(size, SEED)
    draws.save(folder)
    likes = len(draws.items)
    drawn_s = round(time.perf_counter() - started, 1)
    del draws
    figures: dict[str, Any] = {}
    for kind in kinds:
        missing = [name for name in kind.needs if "fit_s" not in figures.get(name, {})]
        if kind.name in given_up:
            figures[kind.name] = {"result": "not tried: given up at a smaller size"}
        elif missing:
            figures[kind.name] = {"result": f"not tried: it needs {missing[0]}, which there is none of"}
        else:
            figures[kind.name] = _fit(folder, size, kind, limit_s)
            if "fit_s" not in figures[kind.name]:
                given_up.add(kind.name)
    return {
        "events": size.events,
        "likes": likes,
        "users": size.users,
        "items": size.items,
        "drawn_s": drawn_s,
        "kinds": figures,
    }


def _fit(folder: Path, size: Size, kind: SourceKind, limit_s: float) -> dict[str, Any]:
    options = {"folder": str(folder), "kind": kind.name, "items": size.items}
    try:
        return dict(run_child("benchmarks.candidates.fit_one", options, limit_s))
    except subprocess.TimeoutExpired:
        return {"result": f"over the limit of {limit_s:g} s"}
    except RuntimeError as error:
        return {"result": f"failed: {error}"}
