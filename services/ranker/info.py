"""What the ranker says of its models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import FusionrecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.ranker.items.live import LiveItems
    from services.ranker.models.shelf import ModelShelf
    from services.ranker.nouns import GatePoint, ShownNote, VersionNote
    from services.ranker.ports import EncoderNews

ENCODERS_S = 0.5
"""Time that embedding gets to say which encoder is current, when somebody asks what is loaded, seconds."""


@dataclass(frozen=True)
class FusionNote:
    """One loaded fusion function."""

    name: str
    description: str
    is_default: bool
    validation: Mapping[str, float]
    gate: Sequence[GatePoint] = ()


@dataclass(frozen=True)
class ModelInfo:
    """The described version and all that can be asked for; names are empty when there is none."""

    model_version: str
    candidates_version: str
    embedding_version: str
    fusions: tuple[FusionNote, ...]
    status_reason: str
    versions: tuple[VersionNote, ...]
    item_vectors: int
    shown: ShownNote | None = None


async def describe(
    shelf: ModelShelf, live: LiveItems, encoders: EncoderNews, version: str, rules_reason: str = ""
) -> ModelInfo:
    """Returns what is told of a version; empty means the current one. `rules_reason`: why newer rules do not hold.

    Raises:
        NotFound: there is no such version.

    """
    model = await shelf.get(version)
    versions = tuple(await shelf.versions())
    outdated = "" if version or model is None else await _outdated(encoders, model.table.embedding_version)
    reasons = (shelf.status_reason, rules_reason and f"rules: {rules_reason}", outdated)
    reason = "; ".join(one for one in reasons if one)
    if model is None:
        return ModelInfo("", "", live.table.embedding_version, (), reason, versions, 0)
    table = model.table if version else live.table
    fusions = tuple(
        FusionNote(
            name, fusion.description, name == model.default, model.validation.get(name, {}), model.gates.get(name, ())
        )
        for name, fusion in sorted(model.fusions.items())
    )
    return ModelInfo(
        model_version=model.version,
        candidates_version=model.candidates_version,
        embedding_version=model.table.embedding_version,
        fusions=fusions,
        status_reason=reason,
        versions=versions,
        item_vectors=table.vectors.count,
        shown=model.shown,
    )


async def _outdated(encoders: EncoderNews, used: str) -> str:
    """Returns that embedding has another current version than the model uses; empty when not, or not to be had."""
    try:
        current = await encoders.current_version(ENCODERS_S)
    except FusionrecError:
        return ""
    if not current or not used or used == current:
        return ""
    return f"embedding {current} is current, this model uses {used}: train anew to use it"
