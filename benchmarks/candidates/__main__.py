"""The figures of the candidates service alone: `python -m benchmarks.candidates`, `make bench-candidates`.

Parts: quality, serving and writes on MovieLens with real services, the index and the service at a million items,
training at up to ten million events. Each part that is done is written to `results/candidates-DATE-COMMIT.json` and
`results/candidates.md`, beside those of an earlier run of the same commit and day. Ends with exit code 1 when a target
is missed. All parts take some hours on two cores, which should do nothing else.

    python -m benchmarks.candidates --only quality,serving
    python -m benchmarks.candidates --only scale --events 1,3 --kinds als,item_knn
    python -m benchmarks.candidates --small
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.candidates import index, overhead, quality, report, scale, serving, targets, writes
from benchmarks.candidates.data import movielens
from benchmarks.candidates.fleet import running_fleet
from benchmarks.environment import describe
from services.candidates.sources.registry import NAMES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

RESULTS = Path(__file__).resolve().parent.parent / "results"
ON_MOVIELENS = ("quality", "serving", "writes")
PARTS = (*ON_MOVIELENS, "index", "overhead", "scale")
SMALL_ITEMS, ITEMS = 20_000, 1_000_000


def measure(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the name and the figures of each part that is asked for, as soon as it is measured."""
    items = SMALL_ITEMS if options.small else ITEMS
    if not set(ON_MOVIELENS).isdisjoint(options.only):
        with _folder() as folder:
            yield from _on_movielens(folder, options)
    if "index" in options.only:
        yield "index", index.main(items)
    if "overhead" in options.only:
        with _folder() as folder:
            yield "overhead", uvloop.run(overhead.measure(folder, items, options.seconds))
    if "scale" in options.only:
        sizes = scale.SMALL if options.small else scale.SIZES
        wanted = {millions: size for millions, size in sizes.items() if millions in options.events}
        yield "scale", scale.measure(wanted, options.kinds, options.limit)


def _on_movielens(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    data = movielens(small=options.small)
    with running_fleet(folder, data) as fleet:
        if not {"serving", "writes"}.isdisjoint(options.only):
            seconds = fleet.train()
        if "serving" in options.only:
            trained = f"Trained by the job on MovieLens, texts by the embedding service's model, in {seconds} s."
            yield "serving", {"trained": trained, **uvloop.run(serving.measure(fleet, data.users, options.seconds))}
        if "writes" in options.only:
            yield "writes", uvloop.run(writes.measure(fleet, data, 2 * options.seconds))
        if "quality" in options.only:
            yield "quality", quality.measure(data, fleet.embedding.address)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="candidates-bench-") as folder:
        yield Path(folder)


def main() -> None:
    """Measures and writes the results."""
    options = _options()
    environment = describe()
    target = RESULTS / f"candidates-{environment['date']}-{environment['commit']}.json"
    # Parts of an earlier run of the same commit and day stay: they take hours, and each is compared within itself.
    parts = {} if options.small or not target.exists() else json.loads(target.read_text())["parts"]
    page = ""
    for name, figures in measure(options):
        parts[name] = figures
        run = {"small": options.small, "environment": environment, "parts": parts}
        page = report.markdown(run)
        if not options.small:
            RESULTS.mkdir(exist_ok=True)
            target.write_text(json.dumps(run, indent=2) + "\n")
            (RESULTS / "candidates.md").write_text(page)
    print(page)
    missed = [] if options.small else [one for one in targets.verdicts(parts) if not one.met]
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
