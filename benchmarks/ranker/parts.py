"""The parts that are measured over the wire: each starts the processes it needs, with what is trained in the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.ranker import exposure, select, served, serving, swap
from benchmarks.ranker.world import ALL_FUSIONS, say, trained_world
from services.ranker.settings import RankerSettings
from shared.data.splits import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.candidates.data import Data
    from benchmarks.ranker.world import World

SERVING, SWAP, EXPOSURE, SERVED, DIALS = "serving", "swap", "exposure", "served", "dials"
PARTS = (SERVING, SWAP, SERVED, DIALS, EXPOSURE)
DIAL_USERS, SMALL_DIAL_USERS = 300, 40


def measure(folder: Path, only: Sequence[str], data: Data, *, small: bool) -> Iterator[tuple[str, Any]]:
    """Yields the name and the figures of each part."""
    seconds, usual = 2.0 if small else 10.0, RankerSettings().fusions
    if not {SERVING, SWAP, SERVED, DIALS}.isdisjoint(only):
        # All fusions are scored with; the other protocols are measured with what is trained by default.
        fusions = dict.fromkeys(Protocol, usual) if SERVED in only else {}
        with trained_world(folder, data, fusions | {Protocol.WARM: ALL_FUSIONS}) as world:
            if SERVING in only:
                yield SERVING, uvloop.run(serving.measure(world, seconds))
            if SWAP in only:
                yield SWAP, uvloop.run(swap.measure(world, seconds))
            if SERVED in only:
                yield SERVED, served.measure(world, list(Protocol))
            if DIALS in only:
                yield DIALS, _dials(world, SMALL_DIAL_USERS if small else DIAL_USERS)
    if EXPOSURE in only:
        scene = exposure.scene(data)
        with trained_world(folder / "exposure", scene.log, {Protocol.WARM: usual}) as world:
            yield EXPOSURE, uvloop.run(exposure.measure(world, scene))


def _dials(world: World, users: int) -> dict[str, Any]:
    say(f"dials: {users} users")
    with world.served() as served_by:
        address, embedding = served_by.ranker.address, world.fleet.embedding.address
        return {"users": users, "rows": uvloop.run(select.measure(address, embedding, users=users, data=world.data))}
