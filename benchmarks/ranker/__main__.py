"""The figures of the ranker: `python -m benchmarks.ranker`, `make bench-ranker`.

Starts ingestion, embedding and candidates with MovieLens and trains candidates for each protocol. The protocols and the
ablations fit and measure the fusions in this process on what candidates answers; the other parts train the ranker and
ask it as a service: `serving` and `swap` (speed), `served` (the evaluator's figures), `dials`, `exposure` (new items).
After each part `results/ranker-DATE-COMMIT.json` and `ranker.md` are written, with the newest figures of the parts that
are not measured now. Ends with exit code 1 when a target is missed by what was. Takes some twenty minutes on two cores,
which should do nothing else.

    python -m benchmarks.ranker --only warm,ablations --fusions linear,gbdt
    python -m benchmarks.ranker --only serving,swap,exposure,served,dials
    python -m benchmarks.ranker --data FOLDER      keeps the trained services' data there, for the next run
"""

from __future__ import annotations

import os

# Read when numpy is imported: measured as a server runs.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.candidates.data import movielens
from benchmarks.environment import describe
from benchmarks.ranker import parts as over_the_wire
from benchmarks.ranker import prepare, quality, report, results
from services.ranker.fusion.registry import FUSIONS
from services.ranker.settings import names_in
from shared.data.splits import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RESULTS = Path(__file__).resolve().parent.parent / "results"
ABLATIONS = "ablations"
IN_PROCESS = (*(one.value for one in Protocol), ABLATIONS)
PARTS = (*IN_PROCESS, *over_the_wire.PARTS)


def measure(folder: Path, only: Sequence[str], fusions: Sequence[str], *, small: bool) -> Iterator[tuple[str, Any]]:
    """Yields the name and the figures of each part."""
    if not set(IN_PROCESS).isdisjoint(only):
        yield from _in_process(folder, only, fusions, small=small)
    yield from over_the_wire.measure(folder, only, movielens(small=small), small=small)


def _in_process(folder: Path, only: Sequence[str], fusions: Sequence[str], *, small: bool) -> Iterator[tuple[str, Any]]:
    protocols = [one for one in Protocol if one.value in only or (one is Protocol.WARM and ABLATIONS in only)]
    with prepare.services(folder, protocols, small=small) as settings:
        for protocol in protocols:
            made = uvloop.run(prepare.material(settings, protocol))
            if protocol.value in only:
                yield protocol.value, _part(made, fusions)
            if protocol is Protocol.WARM and ABLATIONS in only:
                yield ABLATIONS, quality.ablations(made, "gbdt")


def _part(made: prepare.Material, names: Sequence[str]) -> dict[str, Any]:
    table = made.prepared.base
    fusions, figures = quality.fit(made, names)
    for name, fusion in fusions.items():
        figures[name] |= {
            **quality.quality(fusion, made.test, table),
            "score_300_ms": quality.score_ms(fusion, made.test, table),
            **quality.explained(fusion, made.test, table),
        }
    return {"training_lists": len(made.prepared.lists), "test_lists": len(made.test), "fusions": figures}


def main() -> None:
    """Measures and writes the results."""
    options = _options()
    environment = describe()
    target = RESULTS / f"ranker-{environment['date']}-{environment['commit']}.json"
    run: dict[str, Any] = {"environment": environment, "small": options.small, "parts": {}, "measured": {}}
    if not options.small:
        run |= results.earlier(RESULTS)
    mine: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ranker-bench-") as made:
        folder = Path(options.data or made)
        folder.mkdir(parents=True, exist_ok=True)
        for name, figures in measure(folder, options.only, names_in(options.fusions), small=options.small):
            mine.append(name)
            run["parts"][name], run["measured"][name] = figures, results.stamp(environment)
            if not options.small:
                target.write_text(json.dumps(run, indent=2) + "\n")
                (RESULTS / "ranker.md").write_text(report.markdown(run))
            print(report.markdown(run), flush=True)
    own = {name: run["parts"][name] for name in mine}
    missed = [] if options.small else [one for one in report.verdicts(own) if not one.met]
    if missed:
        raise SystemExit("\n".join(f"missed: {one.name}: {one.value:.4g}, {one.bound}" for one in missed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranker", description=__doc__)
    parser.add_argument("--only", type=_parts, default=PARTS, help=f"parts, comma separated: {', '.join(PARTS)}")
    parser.add_argument("--fusions", default=",".join(FUSIONS), help="fusion functions, comma separated")
    parser.add_argument("--data", default="", help="folder for the services' data, kept for the next run")
    parser.add_argument("--small", action="store_true", help="a quick run on little data; writes nothing")
    return parser.parse_args()


def _parts(value: str) -> tuple[str, ...]:
    names = tuple(names_in(value))
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(PARTS)}")
    return names


if __name__ == "__main__":
    main()
