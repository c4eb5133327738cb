"""Each neighbour of the ranker killed and started again under an open stream of Recommend calls.

Runs the five services on a data directory that `fusionrec demo` or `fusionrec train` has left, and prints one row per
phase: calls, failures, what the replies named, the seconds until it was named and until nothing was any more, p50 and
p99. Every call asks something new: an answer that is given again would hide what is down. Nothing is written.

    python -m benchmarks.ranker.degrade --data-dir .fusionrec/demo --per-second 30

Ends with exit code 1 when a call failed, a loss was not named as it should be, or one stayed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import uvloop
from fusionrec.channel import connect_aio
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc

from benchmarks.candidates.report import table
from benchmarks.ranker.degrade_stream import PATIENCE_S, Reply, Stream
from shared.cli.addresses import DEFAULT_PORT_BASE, SERVICES, Addresses
from shared.cli.processes import start_fleet
from shared.cli.up import only_one, running_state
from shared.cli.workspace import Workspace
from shared.testing.processes import health_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from shared.cli.processes import Child, Fleet

USERS = 500
PHASES: dict[str, dict[str, str]] = {
    "embedding": {"embedding": "cf_only"},
    "candidates": {"candidates": "text_only"},
    "candidates+embedding": {"candidates": "popular", "embedding": "popular"},
    "ingestion": {"ingestion": "full_fusion"},
}
"""What is killed, and what replies have to name then, by fall-back."""


class Neighbour(Protocol):
    """A service that can be killed and started again on the same port."""

    def kill9(self) -> None:
        """Kills it."""

    def start(self) -> None:
        """Starts it."""

    def health(self) -> str:
        """Returns what its health service says."""


@dataclass(frozen=True)
class Row:
    """What a phase showed. Seconds are None where it did not come about."""

    phase: str
    replies: Sequence[Reply]
    named_s: float | None = None
    """From the kill to the first reply that names what is lost."""
    serving_s: float | None = None
    """From the start to when all that was killed says SERVING."""
    recovered_s: float | None = None
    """From the start to the first of the calls that named nothing any more."""
    unnamed: int = 0
    """Calls of the time when it was down, from the first that named it on, that named less or something else."""

    @property
    def failures(self) -> Counter[str]:
        """Failed calls by status."""
        return Counter(one.failure for one in self.replies if one.failure)

    @property
    def names(self) -> Counter[str]:
        """How many replies named what."""
        return Counter(f"{name} → {fallback}" for one in self.replies for name, fallback in one.degraded)

    @property
    def reasons(self) -> Counter[str]:
        """How many replies gave which reason; the numbers in them left out."""
        return Counter(re.sub(r"\d[\d.]*", "…", reason) for one in self.replies for reason in one.reasons)

    @property
    def is_good(self) -> bool:
        """Whether nothing failed, and what was killed was named and came back."""
        lasted = self.phase == "steady" or None not in (self.named_s, self.recovered_s)
        return lasted and not self.failures and not self.unnamed

    def summary(self) -> dict[str, Any]:
        """Figures for a table."""
        times = [(one.ended - one.due) * 1e3 for one in self.replies if not one.failure] or [float("nan")]
        return {
            "phase": self.phase,
            "calls": len(self.replies),
            "failed": dict(self.failures),
            "named": dict(self.names),
            "named otherwise": self.unnamed,
            "s until named": _rounded(self.named_s),
            "s until SERVING": _rounded(self.serving_s),
            "s until recovered": _rounded(self.recovered_s),
            "p50 ms": round(float(np.percentile(times, 50)), 1),
            "p99 ms": round(float(np.percentile(times, 99)), 1),
        }


async def steady(stream: Stream, seconds: float) -> Row:
    """Returns a phase in which nothing is killed."""
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    return Row("steady", stream.since(began))


async def outage(stream: Stream, name: str, parts: Mapping[str, Neighbour], down_s: float) -> Row:
    """Kills neighbours, leaves them down for `down_s` once it is named, starts them, waits until nothing is named."""
    wanted = PHASES[name]
    for part in parts.values():
        await asyncio.to_thread(part.kill9)
    killed = time.perf_counter()
    await stream.until(lambda: stream.named_at(wanted, killed) is not None)
    named = stream.named_at(wanted, killed)
    await asyncio.sleep(down_s)
    started = time.perf_counter()
    down = [one for one in stream.since(killed) if named is not None and one.due > named and one.ended < started]
    for part in parts.values():
        await asyncio.to_thread(part.start)
    serving = asyncio.create_task(asyncio.to_thread(_serving, tuple(parts.values())))
    await stream.until(lambda: stream.calm_at(started) is not None)
    calm = stream.calm_at(started)
    return Row(
        name,
        stream.since(killed),
        named_s=None if named is None else named - killed,
        serving_s=await serving - started,
        recovered_s=None if calm is None else calm - started,
        unnamed=sum(one.named != wanted for one in down),
    )


def _serving(parts: Sequence[Neighbour]) -> float:
    """Returns when all say SERVING."""
    while any(part.health() != "SERVING" for part in parts):
        time.sleep(0.05)
    return time.perf_counter()


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


@dataclass
class OwnChild:
    """A service of a fleet that this process has started."""

    fleet: Fleet
    child: Child
    address: str

    def kill9(self) -> None:
        """Kills it."""
        self.child.process.kill()
        self.child.process.wait()

    def start(self) -> None:
        """Starts it."""
        self.fleet.restart(self.child)

    def health(self) -> str:
        """Returns what its health service says."""
        return health_of(self.address)


@contextlib.contextmanager
def own_services(data: Path, addresses: Addresses) -> Iterator[dict[str, OwnChild]]:
    """Runs the five on a data directory; yields them when all are SERVING."""
    workspace = Workspace(data.absolute())
    with only_one(workspace):
        fleet = start_fleet(addresses, workspace)
        try:
            workspace.write_state(running_state(fleet, addresses))
            parts = {
                child.service: OwnChild(fleet, child, addresses.address(child.service)) for child in fleet.children
            }
            until = time.monotonic() + PATIENCE_S
            while late := [name for name in SERVICES if parts[name].health() != "SERVING"]:
                if time.monotonic() > until:
                    raise SystemExit(f"{', '.join(late)} did not become SERVING; see {workspace.folder}/logs")
                time.sleep(0.2)
            yield parts
        finally:
            fleet.stop()
            workspace.state_file.unlink(missing_ok=True)


async def some_users(address: str) -> list[str]:
    """Returns users of the log, at most `USERS`."""
    async with connect_aio(address) as channel:
        users: dict[str, None] = {}
        async for batch in ingestion_grpc.IngestionServiceStub(channel).ReadEvents(ingestion_pb.ReadEventsRequest()):
            users.update((record.event.user_id, None) for record in batch.records if record.HasField("event"))
            if len(users) >= USERS:
                break
    return list(users)[:USERS]


async def measure(
    parts: Mapping[str, Neighbour], addresses: Mapping[str, str], *, per_second: float, down_s: float
) -> list[Row]:
    """Returns the rows of all phases; `addresses` are those of ranker and ingestion."""
    users = await some_users(addresses["ingestion"])
    async with Stream(addresses["ranker"], users, per_second) as stream:
        # Each user once: the last known history is that of a user who has asked before.
        await stream.until(lambda: len(stream.replies) >= len(users))
        before = await steady(stream, max(down_s, 5.0))
        killed = {name: {one: parts[one] for one in name.split("+")} for name in PHASES}
        outages = [await outage(stream, name, lost, down_s) for name, lost in killed.items()]
    return [before, *outages]


def main() -> None:
    """Runs, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranker.degrade", description=__doc__)
    parser.add_argument("--data-dir", default=".fusionrec/demo", help="of trained services that do not run")
    parser.add_argument("--port-base", type=int, default=DEFAULT_PORT_BASE)
    parser.add_argument("--per-second", type=float, default=30.0, help="calls")
    parser.add_argument("--down", type=float, default=4.0, help="seconds that a neighbour stays down once it is named")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    addresses = Addresses(options.port_base)
    with own_services(Path(options.data_dir), addresses) as parts:
        to = {name: addresses.address(name) for name in ("ranker", "ingestion")}
        rows = uvloop.run(measure(parts, to, per_second=options.per_second, down_s=options.down))
    figures = [row.summary() for row in rows]
    if options.json:
        told = [{**one, "reasons": dict(row.reasons)} for one, row in zip(figures, rows, strict=True)]
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print(table(list(figures[0]), [[_cell(value) for value in one.values()] for one in figures]))
    bad = [row.phase for row in rows if not row.is_good]
    if bad:
        raise SystemExit(f"not as it should be: {', '.join(bad)}")


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{name} ({count})" for name, count in value.items()) or 0
    return value


if __name__ == "__main__":
    main()
