"""Every kind of source, once, in the order in which they are fitted, asked and listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.candidates.sources import (
    aligned_text,
    als,
    content,
    item_item,
    item_knn,
    popular,
    random_,
    sequential,
    trending,
    two_tower,
    user_knn,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from services.candidates.sources.kind import Model, SourceKind, TrainingData

KINDS: Final[tuple[SourceKind, ...]] = (
    als.KIND,
    item_item.KIND,
    item_knn.KIND,
    user_knn.KIND,
    sequential.KIND,
    aligned_text.KIND,
    content.KIND,
    two_tower.KIND,
    popular.KIND,
    trending.KIND,
    random_.KIND,
)

NAMES: Final[tuple[str, ...]] = tuple(kind.name for kind in KINDS)
FOUNDATION: Final[tuple[str, ...]] = (als.KIND.name, aligned_text.KIND.name)
"""Kinds that every version has: their models make the vector spaces."""


def wanted_kinds(names: Collection[str]) -> tuple[SourceKind, ...]:
    """Returns the kinds to fit for sources of these names: those named, what they need, and the foundation."""
    chosen = {*names, *FOUNDATION}
    for kind in reversed(KINDS):
        if kind.name in chosen:
            chosen.update(kind.needs)
    return tuple(kind for kind in KINDS if kind.name in chosen)


def check_kinds(kinds: Collection[SourceKind]) -> None:
    """Checks that kinds can be fitted here.

    Raises:
        FusionrecError: one cannot.

    """
    for kind in kinds:
        kind.check()


def fit_kinds(kinds: Collection[SourceKind], data: TrainingData) -> dict[str, Model]:
    """Fits kinds, given in the order of `KINDS`; returns their models by name."""
    models: dict[str, Model] = {}
    for kind in kinds:
        models[kind.name] = kind.fit(data, models)
    return models


def save_kinds(models: Mapping[str, Model], folder: Path) -> None:
    """Writes each model into a folder of its name below `folder`."""
    for name, model in models.items():
        model.save(folder / name)


def load_kinds(folder: Path) -> dict[str, Any]:
    """Reads what `save_kinds` wrote.

    Raises:
        OSError, ValueError, KeyError: a folder does not hold the model of its name, or the foundation is missing.

    """
    models = {kind.name: kind.load(folder / kind.name) for kind in KINDS if (folder / kind.name).is_dir()}
    missing = [name for name in FOUNDATION if name not in models]
    if missing:
        raise KeyError(missing[0])
    return models
