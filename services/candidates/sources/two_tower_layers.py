"""The layers of the two towers in numpy: what serving computes of what TensorFlow learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.index.spaces import unit
from services.candidates.sources.attributes import AttributeEncoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.candidates.arrays import F32, I64, Mask
    from services.candidates.sources.hyperparameters import TextParameters
    from shared.data.nouns import Item

_SAMPLE = 50_000
"""Items whose vectors the principal components are computed of."""
_TEXT_SQUARES = 3.0
"""Mean squared length of the text features: about that of an item's attributes."""
_BLOCK = 65_536
"""Items encoded at a time: bounds the memory beside the result."""


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """What is known of an item besides its events, as numbers: its text's principal components, and its attributes.

    A missing text is the mean of all texts, a missing attribute is zero.
    """

    encoder: AttributeEncoder
    text_mean: F32
    """Shape (text dim,)."""
    text_components: F32
    """Shape (text dim, components kept)."""

    @classmethod
    def fit(
        cls, items: Sequence[Item], texts: F32, components: int, parameters: TextParameters, seed: int
    ) -> ItemFeatures:
        """Chooses the attributes, and the principal components of the vectors, float32 (items, dim), NaN for none."""
        given = np.flatnonzero(~np.isnan(texts[:, 0])) if texts.shape[1] else np.zeros(0, np.int64)
        if len(given) > _SAMPLE:
            given = np.sort(np.random.default_rng(seed).choice(given, _SAMPLE, replace=False))
        sample = texts[given].astype(np.float64)
        mean = sample.mean(axis=0) if len(given) else np.zeros(texts.shape[1])
        kept = min(components, texts.shape[1])
        _, vectors = np.linalg.eigh((sample - mean).T @ (sample - mean))
        largest = vectors[:, ::-1][:, :kept]
        squares = float(np.mean(np.sum(((sample - mean) @ largest) ** 2, axis=1))) if len(given) else 0.0
        scaled = largest * np.sqrt(_TEXT_SQUARES / squares) if squares else largest
        return cls(AttributeEncoder.fit(items, parameters), mean.astype(np.float32), scaled.astype(np.float32))

    @property
    def width(self) -> int:
        """Number of features."""
        return int(self.text_components.shape[1]) + self.encoder.width + 1

    def encode(self, items: Sequence[Item], texts: F32) -> tuple[F32, Mask]:
        """Returns the features, float32 (items, width), and of which items anything is known at all."""
        features = np.zeros((len(items), self.width), np.float32)
        known = np.zeros(len(items), bool)
        for start in range(0, len(items), _BLOCK):
            block = slice(start, start + _BLOCK)
            attributes = self.encoder.encode(items[block])
            has_text = np.asarray(~np.isnan(texts[block]).any(axis=1))
            centred = np.where(has_text[:, None], texts[block] - self.text_mean, np.float32(0))
            parts = [centred @ self.text_components, attributes, self.encoder.missing(attributes)[:, None]]
            features[block] = np.hstack(parts)
            known[block] = has_text | attributes.any(axis=1)
        return features, known


@dataclass(frozen=True, eq=False)
class Linear:
    """x W + b."""

    weights: F32
    bias: F32

    def __call__(self, inputs: F32) -> F32:
        """Returns outputs, (inputs, outputs)."""
        outputs: F32 = inputs @ self.weights + self.bias
        return outputs


@dataclass(frozen=True, eq=False)
class Tower:
    """x + relu(x W + b) V + c, at length 1: the identity and what a hidden layer learned on top."""

    hidden: Linear
    out: Linear

    def __call__(self, inputs: F32) -> F32:
        """Returns vectors of length 1, (inputs, dim); NaN where an input is NaN."""
        return unit(inputs + self.out(np.maximum(self.hidden(inputs), 0)))


@dataclass(frozen=True, eq=False)
class TowerWeights:
    """All that is learned besides the embeddings of the ids."""

    item_projection: Linear
    """Features to the item tower."""
    context_projection: Linear
    """Features of a liked item to the user tower."""
    item: Tower
    user: Tower

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return len(self.item_projection.bias)

    def item_vectors(self, ids: F32, features: F32) -> F32:
        """Returns the items' vectors, (items, dim), of their id embeddings, (items, dim), and features."""
        return self.item(ids + self.item_projection(features))

    def contexts(self, ids: F32, features: F32) -> F32:
        """Returns what the items say of a user who likes them, (items, dim), of other id embeddings."""
        return ids + self.context_projection(features)

    def to_arrays(self) -> dict[str, F32]:
        """Returns the weights by name."""
        layers = {
            "item_projection": self.item_projection,
            "context_projection": self.context_projection,
            "item_hidden": self.item.hidden,
            "item_out": self.item.out,
            "user_hidden": self.user.hidden,
            "user_out": self.user.out,
        }
        weights = {name: layer.weights for name, layer in layers.items()}
        return weights | {f"{name}_bias": layer.bias for name, layer in layers.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> TowerWeights:
        """Reads what `to_arrays` returned.

        Raises:
            KeyError: something is missing.

        """

        def layer(name: str) -> Linear:
            return Linear(arrays[name], arrays[f"{name}_bias"])

        return cls(
            layer("item_projection"),
            layer("context_projection"),
            Tower(layer("item_hidden"), layer("item_out")),
            Tower(layer("user_hidden"), layer("user_out")),
        )


def like_weights(strengths: F32, half_life: float) -> F32:
    """Returns the share of each like in the user's history, float32 summing to 1; the oldest like first.

    A like counts with its strength, halved every `half_life` newer likes.
    """
    age = np.arange(len(strengths) - 1, -1, -1, dtype=np.float32)
    weights = strengths * np.float32(0.5) ** (age / np.float32(half_life))
    shares: F32 = (weights / weights.sum()).astype(np.float32)
    return shares


def blocks(size: int) -> list[I64]:
    """Returns the rows 0 to size in blocks, for what must not be computed of all at once."""
    return [np.arange(start, min(start + _BLOCK, size)) for start in range(0, size, _BLOCK)]
