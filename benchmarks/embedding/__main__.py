"""The figures of the embedding service's engine: `python -m benchmarks.embedding`, `make bench-embedding`.

One run of the matrix products' limit, the service through gRPC, and the libraries that people use, each in a process
of its own and on the same texts and cores; the libraries in environments that are made beside the results. Written to
`results/embedding-DATE-COMMIT.json` and `results/embedding.md`. Ends with exit code 1 when a target is missed. Takes
some minutes on two cores, which should do nothing else.

    python -m benchmarks.embedding --small --rivals sentence-transformers
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.embedding import engine, report, rivals
from benchmarks.environment import describe

RESULTS = Path(__file__).resolve().parent.parent / "results"


def main() -> None:
    """Measures and writes the results."""
    options = _options()
    environment = describe()
    target = RESULTS / f"embedding-{environment['date']}-{environment['commit']}.json"
    # Parts that other commands measured for the same commit and day stay.
    parts = {} if options.small or not target.exists() else json.loads(target.read_text())["parts"]
    parts["engine"] = engine.measure(options)
    run = {"small": options.small, "environment": environment, "parts": parts}
    page = report.markdown(run)
    print(page)
    if options.small:
        return
    RESULTS.mkdir(exist_ok=True)
    target.write_text(json.dumps(run, indent=2) + "\n")
    (RESULTS / "embedding.md").write_text(page)
    missed = [one for one in report.verdicts(parts["engine"]) if not one.met]
    if missed:
        raise SystemExit("\n".join(f"missed: {one.name}: {one.value:.4g}, {one.bound}" for one in missed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding", description=__doc__)
    parser.add_argument("--small", action="store_true", help="a quick run on little data; writes nothing")
    names = ", ".join(rivals.ENGINES)
    parser.add_argument("--rivals", type=_names, default=tuple(rivals.ENGINES), help=f"comma separated: {names}")
    parser.add_argument("--seconds", type=float, help="of the 64 callers (10, with --small 2)")
    parser.add_argument("--overload", type=float, help="seconds of the overload (60, with --small 4)")
    options = parser.parse_args()
    options.seconds = options.seconds or (2.0 if options.small else 10.0)
    options.overload = options.overload or (4.0 if options.small else 60.0)
    return options


def _names(value: str) -> tuple[str, ...]:
    names = tuple(value.split(",")) if value else ()
    for name in names:
        if name not in rivals.ENGINES:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(rivals.ENGINES)}")
    return names


if __name__ == "__main__":
    main()
