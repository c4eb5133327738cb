"""Fusion functions by variant name: a new one is added here, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.ranker.fusion.gbdt import GbdtFusion
from services.ranker.fusion.linear import LinearFusion
from shared.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.ranker.fusion.base import FusionFunction

FUSIONS: Final[dict[str, type[FusionFunction]]] = {one.name: one for one in (GbdtFusion, LinearFusion)}


def fusion_class(name: str) -> type[FusionFunction]:
    """Returns the class of a variant.

    Raises:
        NotFound: no fusion of that name; the message lists the known ones.

    """
    if name not in FUSIONS:
        raise NotFound(f"no fusion {name!r}; known are {', '.join(sorted(FUSIONS))}")
    return FUSIONS[name]


def new_fusions(names: Iterable[str]) -> dict[str, FusionFunction]:
    """Returns unfitted fusions by name, in order; gbdt stands on the same linear model that the linear variant is.

    Raises:
        NotFound: no fusion of that name.

    """
    linear = LinearFusion()
    related: dict[str, FusionFunction] = {LinearFusion.name: linear, GbdtFusion.name: GbdtFusion(linear=linear)}
    return {name: related.get(name) or fusion_class(name)() for name in names}
