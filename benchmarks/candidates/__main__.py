"""The figures of the candidates service alone: `python -m benchmarks.candidates`, `make bench-candidates`.

Parts: quality, serving and writes on MovieLens with real services, the index and the service at a million items,
training at up to ten million events. Writes `results/candidates-DATE-COMMIT.json` and `results/candidates.md`; ends
with exit code 1 when a target is missed. All parts take about two hours on two cores, which should do nothing else.

    python -m benchmarks.candidates --only quality,serving
    python -m benchmarks.candidates --only scale --events 1,3 --kinds als,item_knn
    python -m benchmarks.candidates --small
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.candidates import quality, report, scale, serving, targets, writes
from benchmarks.candidates.data import movielens
from benchmarks.candidates.fleet import running_fleet
from benchmarks.environment import describe
from services.candidates.sources.registry import NAMES

if TYPE_CHECKING:
    from collections.abc import Collection

RESULTS = Path(__file__).resolve().parent.parent / "results"
ON_MOVIELENS = ("quality", "serving", "writes")
PARTS = (*ON_MOVIELENS, "index", "overhead", "scale")
SMALL_ITEMS, ITEMS = 20_000, 1_000_000


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measures the parts that are asked for; returns their figures by name."""
    parts: dict[str, Any] = {}
    items = SMALL_ITEMS if options.small else ITEMS
    if not set(ON_MOVIELENS).isdisjoint(options.only):
        with tempfile.TemporaryDirectory(prefix="candidates-bench-") as folder:
            parts |= _on_movielens(Path(folder), options)
    if "index" in options.only:
        from benchmarks.candidates import index

        parts["index"] = index.main(items)
    if "overhead" in options.only:
        from benchmarks.candidates import overhead

        with tempfile.TemporaryDirectory(prefix="candidates-bench-") as folder:
            parts["overhead"] = uvloop.run(overhead.measure(Path(folder), items, options.seconds))
    if "scale" in options.only:
        sizes = scale.SMALL if options.small else scale.SIZES
        wanted = {millions: size for millions, size in sizes.items() if millions in options.events}
        parts["scale"] = scale.measure(wanted, options.kinds, options.limit)
    return parts


def _on_movielens(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    data = movielens(small=options.small)
    parts: dict[str, Any] = {}
    with running_fleet(folder, data) as fleet:
        if not {"serving", "writes"}.isdisjoint(options.only):
            seconds = fleet.train()
            trained = f"Trained by the job on MovieLens, texts by the embedding service's model, in {seconds} s."
        if "serving" in options.only:
            parts["serving"] = {"trained": trained, **uvloop.run(serving.measure(fleet, data.users, options.seconds))}
        if "writes" in options.only:
            parts["writes"] = uvloop.run(writes.measure(fleet, data, 2 * options.seconds))
        if "quality" in options.only:
            parts["quality"] = quality.measure(data, fleet.embedding.address)
    return parts


def main() -> None:
    """Measures and writes the results."""
    options = _options()
    figures = {"small": options.small, "environment": describe(), "parts": measure(options)}
    page = report.markdown(figures)
    print(page)
    if options.small:
        return
    environment = figures["environment"]
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"candidates-{environment['date']}-{environment['commit']}.json"
    target.write_text(json.dumps(figures, indent=2) + "\n")
    (RESULTS / "candidates.md").write_text(page)
    missed = [one for one in targets.verdicts(figures["parts"]) if not one.met]
    if missed:
        raise SystemExit("\n".join(f"missed: {one.name}: {one.value:.4g}, {one.bound}" for one in missed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.candidates", description=__doc__)
    parser.add_argument("--only", type=_Among(PARTS), default=PARTS, help=f"parts, comma separated: {', '.join(PARTS)}")
    parser.add_argument("--small", action="store_true", help="a quick run of everything on little data; writes nothing")
    parser.add_argument("--seconds", type=float, help="of a measurement of latency (10, with --small 1)")
    parser.add_argument("--events", type=_millions, default=tuple(scale.SIZES), help="sizes of scale, millions: 1,3,10")
    parser.add_argument("--kinds", type=_Among(NAMES), default=(), help="kinds of scale, comma separated; all without")
    parser.add_argument("--limit", type=float, default=scale.LIMIT_S, help="longest fit of scale, seconds")
    options = parser.parse_args()
    options.seconds = options.seconds or (1.0 if options.small else 10.0)
    return options


class _Among:
    """Reads a comma-separated list of names."""

    def __init__(self, valid: Collection[str]) -> None:
        self._valid = valid

    def __call__(self, value: str) -> tuple[str, ...]:
        names = tuple(value.split(","))
        for name in names:
            if name not in self._valid:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(self._valid)}")
        return names


def _millions(value: str) -> tuple[int, ...]:
    return tuple(int(name) for name in _Among([str(size) for size in scale.SIZES])(value))


if __name__ == "__main__":
    main()
