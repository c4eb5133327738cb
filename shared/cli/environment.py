"""The environment of a local service's process: its ports, its neighbours, its place in the data directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from shared.cli.workspace import ROOT

if TYPE_CHECKING:
    from shared.cli.addresses import Addresses
    from shared.cli.workspace import Workspace

_NEIGHBOURS = {
    "ingestion": (),
    "embedding": ("ingestion",),
    "candidates": ("ingestion", "embedding"),
    "ranker": ("ingestion", "embedding", "candidates", "evaluator"),
    "evaluator": ("ingestion", "candidates", "ranker"),
}
_KEEPS_ARTIFACTS = ("embedding", "candidates", "ranker", "evaluator")


def environment(service: str, addresses: Addresses, workspace: Workspace) -> dict[str, str]:
    """Returns the environment that a service's `serve` and its jobs run with.

    Ports and neighbours are decided here. Where data is kept and how logs look are defaults: a variable that is
    set already (INGESTION_STORE, EMBEDDING_MODEL, RANKER_ARTIFACTS, …) stays as it is.
    """
    prefix = service.upper()
    decided = {
        f"{prefix}_HOST": addresses.host,
        f"{prefix}_PORT": str(addresses.port(service)),
        f"{prefix}_METRICS_PORT": str(addresses.metrics_port(service)),
        "PYTHONPATH": os.pathsep.join(_import_roots()),
        "PYTHONUNBUFFERED": "1",
        # A folder named `services` where the user happens to be must not be taken for ours.
        "PYTHONSAFEPATH": "1",
    }
    for neighbour in _NEIGHBOURS[service]:
        decided[f"{prefix}_{neighbour.upper()}_ADDRESS"] = addresses.address(neighbour)
    defaults = {f"{prefix}_LOG_JSON": "false"}
    if service == "ingestion":
        defaults["INGESTION_STORE"] = f"sqlite:///{workspace.event_store}"
    if service == "embedding":
        defaults["EMBEDDING_TRAINING_FOLDER"] = str(workspace.folder / "embedding" / "training")
    if service in _KEEPS_ARTIFACTS:
        defaults[f"{prefix}_ARTIFACTS"] = str(workspace.artifacts(service))
    return {**defaults, **os.environ, **decided}


def _import_roots() -> list[str]:
    roots = [str(ROOT), str(ROOT / "client"), str(ROOT / "shared" / "gen")]
    inherited = os.environ.get("PYTHONPATH", "")
    return [*roots, *(part for part in inherited.split(os.pathsep) if part and part not in roots)]
