"""Fusion functions by variant name: a new one is added here, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.ranker.fusion.base import FitContext
from services.ranker.fusion.deep import DeepFusion, require_tensorflow
from services.ranker.fusion.dot import DotFusion
from services.ranker.fusion.ensemble import EnsembleFusion
from services.ranker.fusion.gbdt import GbdtFusion
from services.ranker.fusion.linear import LinearFusion
from services.ranker.fusion.svm import SvmFusion
from services.ranker.fusion.svm_rbf import SvmRbfFusion
from shared.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.ranker.fusion.base import FusionFunction

FUSIONS: Final[dict[str, type[FusionFunction]]] = {
    one.name: one for one in (DeepFusion, DotFusion, EnsembleFusion, GbdtFusion, LinearFusion, SvmFusion, SvmRbfFusion)
}
NO_PARTS: Final = (EnsembleFusion.name, DotFusion.name)
"""What an ensemble is not made of."""
USUAL_PARTS: Final = (LinearFusion.name, GbdtFusion.name)
"""What it is made of when no other fusion is trained beside it."""


def fusion_class(name: str) -> type[FusionFunction]:
    """Returns the class of a variant.

    Raises:
        NotFound: no fusion of that name; the message lists the known ones.

    """
    if name not in FUSIONS:
        raise NotFound(f"no fusion {name!r}; known are {', '.join(sorted(FUSIONS))}")
    return FUSIONS[name]


def check_fusions(names: Iterable[str]) -> None:
    """Checks, before a training begins, that fusions of these names can be trained here.

    Raises:
        NotFound: no fusion of that name.
        TrainingPackageMissing: what only its training needs is not installed.

    """
    for name in names:
        if fusion_class(name) is DeepFusion:
            require_tensorflow()


def new_fusions(names: Iterable[str], context: FitContext | None = None) -> dict[str, FusionFunction]:
    """Returns unfitted fusions by name, in the order in which they must learn.

    gbdt and deep stand on the same linear model that the linear variant is; the ensemble comes last, since it is made
    of the others.

    Raises:
        NotFound: no fusion of that name.

    """
    context = context or FitContext()
    linear = LinearFusion()
    known: dict[str, FusionFunction] = {
        LinearFusion.name: linear,
        GbdtFusion.name: GbdtFusion(linear=linear, threads=context.threads),
        DeepFusion.name: DeepFusion(linear=linear, context=context),
    }
    wanted = list(dict.fromkeys(names))
    made = {name: known.get(name) or fusion_class(name)() for name in wanted if name != EnsembleFusion.name}
    if EnsembleFusion.name in wanted:
        own = [] if any(name not in NO_PARTS for name in made) else USUAL_PARTS
        parts = {name: known[name] for name in own} | {name: one for name, one in made.items() if name not in NO_PARTS}
        made[EnsembleFusion.name] = EnsembleFusion(parts, own=own)
    return made
