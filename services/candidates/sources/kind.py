"""What a kind of source is: how it is fitted, kept in a folder, and opened over a version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from services.candidates.arrays import F32
    from services.candidates.catalogue.table import ItemTable
    from services.candidates.index.spaces import Spaces
    from services.candidates.ports import AlsEngine, Source, VectorIndex
    from services.candidates.sources.aligned_text import ItemTexts
    from services.candidates.sources.hyperparameters import Hyperparameters
    from services.candidates.training.likes import Likes
    from shared.data.nouns import Item


class Model(Protocol):
    """What training learns for one source."""

    def save(self, folder: Path) -> None:
        """Writes the model into a folder, which is made when it is missing."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What the sources of one version are fitted on. Arrays have one row per item of `items`."""

    items: Sequence[Item]
    """The catalogue; a bare `Item(id)` for ids that have events and no entry."""
    texts: ItemTexts
    likes: Likes
    parameters: Hyperparameters
    als_engine: AlsEngine | None = None
    """What fits the matrix factorisation; None: this process."""


@dataclass(frozen=True, eq=False)
class Opening:
    """The version that a source is opened over: what it may share with the other sources."""

    models: Mapping[str, Any]
    """The models of all kinds of the version, by name."""
    spaces: Spaces
    table: ItemTable
    indexes: Mapping[str, VectorIndex]
    """The indexes of the kinds that have vectors of their own, by name, with all that training has in them."""


def _nothing() -> None:
    """Every kind but those with packages of their own can be fitted anywhere."""


@dataclass(frozen=True)
class SourceKind:
    """One kind. The functions are those of the kind's own file; `Any` stands for the kind's own model."""

    name: str
    """Its name in settings and in the version's folder."""
    fit: Callable[[TrainingData, Mapping[str, Any]], Model]
    """Fits on the data and on the models of the kinds in `needs`. The same data and seed give the same model."""
    load: Callable[[Path], Model]
    """Reads what the model's `save` wrote; raises OSError, ValueError or KeyError when that is not there."""
    open: Callable[[Any, Opening], Sequence[Source]]
    """Makes the sources that answer with the model: mostly one."""
    check: Callable[[], None] = _nothing
    """Checks, before a job begins, that the kind can be fitted here; raises FusionrecError."""
    needs: tuple[str, ...] = ()
    """Kinds that are fitted before, and whose models this one reads."""
    vectors: Callable[[Any], F32] | None = None
    """Returns the vectors of a model that its source searches, float32 (rows, dim), rows of NaN or zeros where there is
    none. Their index is handed to `open`: built at training where it is large, else filled. None: it has none."""
