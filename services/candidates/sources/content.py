"""Items whose texts are like those of the items liked, by the language model alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.index.spaces import CONTENT, unit
from services.candidates.sources.hyperparameters import ContentParameters
from services.candidates.sources.kind import SourceKind
from services.candidates.sources.nearest import NearestSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from services.candidates.arrays import F32
    from services.candidates.ports import Source, VectorIndex
    from services.candidates.profile import Profile
    from services.candidates.sources.kind import Opening, TrainingData

NO_TEXT = "no liked item in the history that has a text vector"


@dataclass(frozen=True)
class ContentModel:
    """How a user's vector is made; the items' vectors are those of the version's "content" space."""

    parameters: ContentParameters

    def save(self, folder: Path) -> None:
        """Writes the model into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "content.json").write_text(json.dumps(asdict(self.parameters)))

    @classmethod
    def load(cls, folder: Path) -> ContentModel:
        """Reads what `save` wrote.

        Raises:
            OSError, ValueError: the folder does not hold a model.

        """
        return cls(ContentParameters(**json.loads((folder / "content.json").read_text())))


class ContentSource(NearestSource):
    """Items by the cosine of their language model vector and the mean of those of the liked items.

    A like counts by its strength, halved every `half_life` newer likes. Knows an item the moment it has a vector, with
    or without events. Proposes only when it is asked for by name: with the history's likes to learn from, what users
    liked says far more (`aligned_text` makes the same vectors speak the language of likes).
    """

    name = "content"
    proposes = False
    description = "cosine of language model vectors: the item's and the mean of the liked items'"

    def __init__(self, model: ContentModel, index: VectorIndex) -> None:
        super().__init__(index, NO_TEXT)
        self._parameters = model.parameters

    def user_vector(self, profile: Profile) -> F32 | None:
        """Returns the user's vector, float32 (dim,), of length 1; None when no liked item has one.

        Not kept on the profile: the vectors of liked items come and change while the history stays as it is.
        """
        liked = profile.liked[-self._parameters.last :]
        vectors = self._index.vectors(liked)
        has_text = ~np.isnan(vectors[:, 0])
        age = np.arange(len(liked) - 1, -1, -1, dtype=np.float32)
        weights = profile.strengths[len(profile.strengths) - len(liked) :] * 0.5 ** (age / self._parameters.half_life)
        user = unit((weights[has_text].astype(np.float32) @ vectors[has_text])[None])[0]
        return None if np.isnan(user[0]) else user


def _fit(data: TrainingData, models: Mapping[str, Any]) -> ContentModel:
    del models
    return ContentModel(data.parameters.content)


def _open(model: ContentModel, opening: Opening) -> Sequence[Source]:
    return [ContentSource(model, opening.spaces.similar[CONTENT])]


KIND = SourceKind("content", _fit, ContentModel.load, _open)
