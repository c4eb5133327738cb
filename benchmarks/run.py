"""The figures of the README: quality on the three protocols, Recommend against a bare echo, freshness. `make bench`.

Starts the five services on free ports with MovieLens, trains, measures, stops; writes `results/DATE-COMMIT.json` and
`results/latest.md`; ends with exit code 1 when a target is missed. Takes about a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks import freshness, recommend, report, targets
from benchmarks.environment import describe
from benchmarks.movielens import write_csv
from shared.cli.addresses import Addresses
from shared.cli.processes import free_port_base
from shared.rpc.probe import is_serving

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS = Path(__file__).resolve().parent / "results"
START_S = 300.0
CLI = [sys.executable, "-m", "shared.cli"]


@contextmanager
def _services(options: list[str], addresses: Addresses) -> Iterator[None]:
    # Every answer is computed: what is measured is the pipeline.
    environment = {**os.environ, "RANKER_REPLY_CACHE_S": "0"}
    up = subprocess.Popen([*CLI, "up", *options], stdout=sys.stderr, env=environment)
    try:
        until = time.monotonic() + START_S
        while not all(is_serving(addresses.address(name)) for name in ("ingestion", "embedding", "evaluator")):
            if up.poll() is not None or time.monotonic() > until:
                raise SystemExit("the services did not start")
            time.sleep(0.5)
        yield
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait()


def _run(*arguments: str) -> str:
    return subprocess.run([*CLI, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(folder: Path, seconds: float) -> dict[str, Any]:
    """Runs everything with its data under `folder`; returns the figures."""
    addresses = Addresses(free_port_base(Addresses()))
    options = ["--data-dir", str(folder / "data"), "--port-base", str(addresses.port_base)]
    items, events = write_csv(folder)
    with _services(options, addresses):
        started = time.monotonic()
        _run("import", "items", str(items), *options)
        _run("import", "events", str(events), *options)
        imported = time.monotonic()
        _run("train", *options)
        trained = time.monotonic()
        latency = uvloop.run(recommend.run(addresses.address("ranker"), addresses.address("ingestion"), seconds))
        quality = json.loads(_run("evaluate", "--json", *options))
        # Last: it writes users and items, which the protocols would count.
        fresh = uvloop.run(freshness.measure(addresses.address("ranker"), addresses.address("ingestion")))
    return {
        "environment": describe(),
        "seconds": {"import": round(imported - started, 1), "train": round(trained - imported, 1)},
        "quality": quality,
        "latency": latency,
        "freshness": fresh,
    }


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="per latency measurement")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.seconds)
    environment = figures["environment"]
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{environment['date']}-{environment['commit']}.json"
    target.write_text(json.dumps(figures, indent=2) + "\n")
    (RESULTS / "latest.md").write_text(report.markdown(figures))
    print(report.markdown(figures))
    missed = targets.missed(figures)
    if missed:
        raise SystemExit("\n".join(missed))


if __name__ == "__main__":
    main()
