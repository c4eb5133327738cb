"""Two towers: a user's history and an item's text, attributes and id, each to a vector; what fits is near.

Yi et al.: Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, 2019. Trained in TensorFlow
(`training/two_tower_fit.py`), computed here in numpy: serving needs no TensorFlow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.sources.als import NO_LIKES
from services.candidates.sources.attributes import AttributeEncoder
from services.candidates.sources.kind import SourceKind
from services.candidates.sources.nearest import NearestSource
from services.candidates.sources.two_tower_layers import ItemFeatures, TowerWeights, blocks, like_weights
from shared.errors import FusionrecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from services.candidates.arrays import F32, I64, Mask
    from services.candidates.ports import VectorIndex
    from services.candidates.profile import Profile
    from services.candidates.sources.aligned_text import ItemTexts
    from services.candidates.sources.kind import Opening, TrainingData
    from shared.data.nouns import Item

NAME = "two_tower"
EXTRA = "candidates-two-tower"
"""Extra, and lock, of the packages that training needs."""
_TABLES = ("ids", "context_ids", "vectors", "contexts")


class TrainingPackageMissing(FusionrecError):
    """A source cannot be trained here: the packages that only its training needs are not installed."""


def require_tensorflow() -> None:
    """Checks that the source can be trained here; asked before a job begins, since training it comes last.

    Raises:
        TrainingPackageMissing: TensorFlow or Keras is not installed.

    """
    missing = [name for name in ("tensorflow", "keras") if find_spec(name) is None]
    if missing:
        raise TrainingPackageMissing(
            f"the source {NAME} is trained with TensorFlow, and {missing[0]} is not installed: install the extra "
            f"`{EXTRA}` (requirements/{EXTRA}.lock; images: --build-arg LOCK={EXTRA}), or leave the source out",
            metadata={"source": NAME, "extra": EXTRA},
        )


@dataclass(frozen=True, eq=False)
class TwoTowerModel:
    """Both towers and what they make of the catalogue. Tables are float32 (items, dim)."""

    features: ItemFeatures
    weights: TowerWeights
    ids: F32
    """Embeddings of the items' ids for the item tower; zero for items without a like."""
    context_ids: F32
    """The same for the user tower."""
    vectors: F32
    """What the item tower says, rows of length 1; NaN for items of which nothing is known."""
    contexts: F32
    """What each item adds to the history of a user who likes it; NaN as above."""
    history: int
    """Likes of a user that count, the newest."""
    half_life: float
    """Newer likes after which a like counts half."""

    @classmethod
    def of(
        cls,
        features: ItemFeatures,
        encoded: tuple[F32, Mask],
        weights: TowerWeights,
        tables: tuple[F32, F32],
        history: int,
        half_life: float,
    ) -> TwoTowerModel:
        """Returns the model of trained weights: the towers are run over the catalogue.

        Args:
            features: how items are encoded.
            encoded: the catalogue so encoded.
            weights: those of both towers.
            tables: embeddings of the ids, those of the item tower and those of the user tower.
            history: see the field.
            half_life: see the field.

        """
        ids, context_ids = tables
        rows_known = encoded[1] | ids.any(axis=1)
        vectors, contexts = np.full_like(ids, np.nan), np.full_like(ids, np.nan)
        for block in blocks(len(ids)):
            rows = block[rows_known[block]]
            vectors[rows] = weights.item_vectors(ids[rows], encoded[0][rows])
            contexts[rows] = weights.contexts(context_ids[rows], encoded[0][rows])
        return cls(features, weights, ids, context_ids, vectors, contexts, history, half_life)

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self.weights.dim

    def encode(self, items: Sequence[Item], texts: ItemTexts, rows: I64) -> tuple[F32, F32]:
        """Returns vectors and contexts of new or changed items, each (items, dim); NaN where nothing is known of one.

        Args:
            items: the items.
            texts: their language model vectors.
            rows: their rows: an item of the training keeps the embedding of its id, a later one has none.

        """
        features, known = self.features.encode(items, texts.full)
        ids, context_ids = np.zeros((2, len(rows), self.dim), np.float32)
        trained = rows < len(self.ids)
        ids[trained], context_ids[trained] = self.ids[rows[trained]], self.context_ids[rows[trained]]
        unknown = ~(known | ids.any(axis=1))
        vectors, contexts = self.weights.item_vectors(ids, features), self.weights.contexts(context_ids, features)
        vectors[unknown] = contexts[unknown] = np.nan
        return vectors, contexts

    def item_vectors(self, items: Sequence[Item], texts: ItemTexts) -> F32:
        """Returns the vectors of items without events, (items, dim); NaN where nothing is known of one."""
        return self.encode(items, texts, np.full(len(items), len(self.ids), np.int64))[0]

    def user_vector(self, contexts: F32, strengths: F32) -> F32:
        """Returns the user's vector, (dim,), of length 1; of the liked items' contexts, (likes, dim), oldest first."""
        pooled = like_weights(strengths, self.half_life) @ contexts
        vector: F32 = self.weights.user(pooled[None])[0]
        return vector

    def save(self, folder: Path) -> None:
        """Writes the model into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _TABLES:
            np.save(folder / f"{name}.npy", getattr(self, name))
        text = {"text_mean": self.features.text_mean, "text_components": self.features.text_components}
        np.savez(folder / "weights.npz", **self.weights.to_arrays(), **text)  # type: ignore[arg-type]  # its keywords are arrays
        meta = {
            "encoder": self.features.encoder.to_json(),
            "history": self.history,
            "half_life": self.half_life,
        }
        (folder / "two_tower.json").write_text(json.dumps(meta))

    @classmethod
    def load(cls, folder: Path) -> TwoTowerModel:
        """Reads what `save` wrote; tables stay on disk until they are used.

        Raises:
            OSError, ValueError, KeyError: the folder does not hold a model.

        """
        meta = json.loads((folder / "two_tower.json").read_text())
        with np.load(folder / "weights.npz") as archive:
            arrays = {name: archive[name] for name in archive.files}
        encoder = AttributeEncoder.from_json(meta["encoder"])
        features = ItemFeatures(encoder, arrays["text_mean"], arrays["text_components"])
        # As plain arrays: every slice of a `memmap` costs microseconds.
        tables = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _TABLES}
        weights = TowerWeights.from_arrays(arrays)
        return cls(features, weights, **tables, history=meta["history"], half_life=meta["half_life"])


class TwoTowerSource(NearestSource):
    """Items near the user, in the space that both towers were trained for. New items come in by what is written.

    One writer (`place`, `remove`), any number of readers in other threads.
    """

    name = NAME
    proposes = True

    def __init__(self, model: TwoTowerModel, index: VectorIndex) -> None:
        super().__init__(index, NO_LIKES)
        self._model = model
        self._later: dict[int, F32] = {}
        """Contexts of the items placed since the training, by row."""
        self.description = f"two towers of {model.dim} dimensions: history against text, attributes and id"

    def place(self, rows: I64, items: Sequence[Item], texts: ItemTexts) -> None:
        """Takes in new and changed items; one of which nothing is known leaves the index.

        Args:
            rows: their rows of the table.
            items: the items.
            texts: their language model vectors, NaN rows where there are none yet.

        """
        vectors, contexts = self._model.encode(items, texts, rows)
        known = ~np.isnan(vectors).any(axis=1)
        for row, context in zip(rows[known].tolist(), contexts[known], strict=True):
            self._later[row] = context
        self._index.remove(rows[~known])
        self._index.put(rows[known], vectors[known])

    def remove(self, rows: I64) -> None:
        """Takes items out of the lists; what they say of those who liked them stays."""
        self._index.remove(rows)

    def user_vector(self, profile: Profile) -> F32 | None:
        """Returns the user's vector, float32 (dim,); None when no liked item is known.

        Not kept on the profile: the contexts of liked items come and change while the history stays as it is.
        """
        newest = profile.newest(self._model.history)
        contexts = self._contexts(newest.liked)
        usable = ~np.isnan(contexts[:, 0])
        return self._model.user_vector(contexts[usable], newest.strengths[usable]) if usable.any() else None

    def _contexts(self, rows: I64) -> F32:
        """Returns the contexts of these rows, (len(rows), dim); NaN where there is none."""
        found = np.full((len(rows), self._model.dim), np.nan, np.float32)
        trained = rows < len(self._model.contexts)
        found[trained] = self._model.contexts[rows[trained]]
        if self._later:
            for place, row in enumerate(rows.tolist()):
                if row in self._later:
                    found[place] = self._later[row]
        return found


def _fit(data: TrainingData, models: Mapping[str, Any]) -> TwoTowerModel:
    del models
    from services.candidates.training.two_tower_fit import fit_two_tower

    return fit_two_tower(data)


def _open(model: TwoTowerModel, opening: Opening) -> Sequence[TwoTowerSource]:
    return (TwoTowerSource(model, opening.indexes[NAME]),)


def _vectors(model: TwoTowerModel) -> F32:
    return model.vectors


KIND = SourceKind(NAME, _fit, TwoTowerModel.load, _open, check=require_tensorflow, vectors=_vectors)
