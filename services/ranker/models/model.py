"""One version of the ranker's model: the fusion functions and the item table that they were published with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog

from services.ranker.features.registry import NAMES
from services.ranker.fusion.registry import fusion_class
from services.ranker.items.table import ItemTable
from services.ranker.nouns import GatePoint, ShownNote, VersionNote
from shared.errors import CorruptData, ModelMismatch, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from services.ranker.fusion.base import FusionFunction
    from shared.artifacts import ArtifactStore, Loaded, Manifest
    from shared.data.preferences import PreferenceRules

log = structlog.get_logger(__name__)

KIND = "ranker"
MODEL_FILE = "model.json"
FUSION_FOLDER = "fusion"
TABLE_FOLDER = "items"


@dataclass(frozen=True)
class RankerModel:
    """A loaded version. `validation[fusion][metric]` is what was measured when it was trained.

    `gates[fusion]`: what each group of features moves in it. `shown`: what it has learned from impressions.
    """

    note: VersionNote
    fusions: Mapping[str, FusionFunction]
    default: str
    validation: Mapping[str, Mapping[str, float]]
    table: ItemTable
    gates: Mapping[str, Sequence[GatePoint]] = field(default_factory=dict)
    shown: ShownNote = field(default_factory=ShownNote)

    @property
    def version(self) -> str:
        """The version's name."""
        return self.note.version

    @property
    def candidates_version(self) -> str:
        """The candidates version it was published for."""
        return self.note.lineage.get("candidates", "")

    def fusion(self, variant: str) -> FusionFunction:
        """Returns the fusion of a variant; empty means the default one.

        Raises:
            NotFound: no such variant; the message lists the loaded ones.

        """
        found = self.fusions.get(variant or self.default)
        if found is None:
            loaded = ", ".join(sorted(self.fusions))
            raise NotFound(f"no variant {variant[:64]!r} in ranker {self.version}; loaded are {loaded}")
        return found


@dataclass(frozen=True)
class ModelNotes:
    """What is published of a version beside its fusions; fields as in `RankerModel`."""

    default: str
    validation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    gates: Mapping[str, Sequence[GatePoint]] = field(default_factory=dict)
    shown: ShownNote = field(default_factory=ShownNote)


def save_model(
    folder: Path,
    fusions: Mapping[str, FusionFunction],
    notes: ModelNotes,
    table: ItemTable,
) -> None:
    """Writes all files of a version into `folder`."""
    content = {
        "features": NAMES,
        "fusions": sorted(fusions),
        "default": notes.default,
        "validation": notes.validation,
        "gates": {name: [asdict(point) for point in points] for name, points in notes.gates.items()},
        "shown": asdict(notes.shown),
    }
    (folder / MODEL_FILE).write_text(json.dumps(content, indent=2))
    for name, fusion in fusions.items():
        own = folder / FUSION_FOLDER / name
        own.mkdir(parents=True, exist_ok=True)
        fusion.save(own)
    (folder / TABLE_FOLDER).mkdir(exist_ok=True)
    table.save(folder / TABLE_FOLDER)


def load_model(loaded: Loaded, preferences: PreferenceRules, default_variant: str = "") -> RankerModel:
    """Returns the model of a verified artifact.

    Raises:
        CorruptData: a file cannot be read.
        ModelMismatch: trained on another feature registry; the message names the difference.
        NotFound: it holds a fusion that this server does not know.

    """
    try:
        content = json.loads((loaded.folder / MODEL_FILE).read_text())
        names, stored, default = content["features"], content["fusions"], content["default"]
        # First: of an older release other things may be different, too.
        _check_features(loaded.manifest.version, names)
        table = ItemTable.load(loaded.folder / TABLE_FOLDER, preferences)
    except (OSError, ValueError, KeyError) as error:
        raise CorruptData(f"ranker {loaded.manifest.version} cannot be read") from error
    fusions = {name: fusion_class(name).load(loaded.folder / FUSION_FOLDER / name) for name in stored}
    return RankerModel(
        note=note_of(loaded.manifest),
        fusions=fusions,
        default=default_variant if default_variant in fusions else default,
        validation=content.get("validation", {}),
        table=table,
        gates=_gates(content.get("gates", {}), loaded.manifest.version),
        shown=_shown(content.get("shown", {}), loaded.manifest.version),
    )


def _gates(stored: Mapping[str, Sequence[Mapping[str, Any]]], version: str) -> dict[str, list[GatePoint]]:
    try:
        return {name: [GatePoint(**point) for point in points] for name, points in stored.items()}
    except TypeError as error:
        raise CorruptData(f"ranker {version} cannot be read") from error


def _shown(stored: Mapping[str, Any], version: str) -> ShownNote:
    try:
        curve = tuple((int(last), float(value)) for last, value in stored.get("examination", ()))
        return ShownNote(**{**stored, "examination": curve})
    except (TypeError, ValueError) as error:
        raise CorruptData(f"ranker {version} cannot be read") from error


def note_of(manifest: Manifest, *, is_current: bool = False) -> VersionNote:
    """Returns what is told of a version.

    Raises:
        CorruptData: its time or its sequence makes no sense.

    """
    try:
        created_at = datetime.fromisoformat(manifest.created_at)
        sequence = int(manifest.data.get("sequence", 0))
    except (TypeError, ValueError) as error:
        raise CorruptData(f"the manifest of {KIND} {manifest.version} cannot be read") from error
    return VersionNote(manifest.version, created_at, manifest.labels, manifest.lineage, sequence, is_current)


def readable_manifests(store: ArtifactStore) -> Iterator[Manifest]:
    """Yields the manifests of all versions, newest first.

    One that is corrupt, or was pruned since it was listed, is passed over: it must not hide the good ones.
    """
    for name in store.versions(KIND):
        try:
            yield store.manifest(KIND, name)
        except (CorruptData, NotFound) as error:
            log.warning("a version was passed over", version=name, reason=error.message)


def _check_features(version: str, names: Sequence[str]) -> None:
    if tuple(names) == NAMES:
        return
    lacking = sorted(set(NAMES) - set(names))
    unknown = sorted(set(names) - set(NAMES))
    if not lacking and not unknown:
        difference = "the order differs"
    else:
        difference = f"it lacks {', '.join(lacking) or 'none'}; unknown here are {', '.join(unknown) or 'none'}"
    raise ModelMismatch(
        f"ranker {version} was trained on another feature registry: {difference}. Train it again with this release"
    )
