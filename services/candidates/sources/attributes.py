"""Attributes of items as numbers: learned from a catalogue, whatever its attributes are called."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.candidates.arrays import F32, F64
    from services.candidates.sources.hyperparameters import TextParameters
    from shared.data.nouns import Item

MIN_SHARE = 0.05
"""A numeric attribute that fewer items than this share have is left out."""
MIN_WORD_COUNT = 3
"""A word that fewer items than this have is left out."""
_SECONDS_PER_YEAR = 365.25 * 86_400


@dataclass(frozen=True, eq=False)
class NumberFeature:
    """A numeric attribute and the knots, float64 ascending, of its piecewise-linear features."""

    name: str
    knots: F64

    def encode(self, values: F64) -> F32:
        """Returns hat functions, (values, knots): weights of the two nearest knots, all zero where NaN."""
        encoded = np.zeros((len(values), len(self.knots)), np.float32)
        rows = np.flatnonzero(~np.isnan(values))
        inside = np.clip(values[rows], self.knots[0], self.knots[-1])
        upper = np.clip(np.searchsorted(self.knots, inside), 1, len(self.knots) - 1)
        share = (inside - self.knots[upper - 1]) / (self.knots[upper] - self.knots[upper - 1])
        encoded[rows, upper - 1] = 1 - share
        encoded[rows, upper] = share
        return encoded


@dataclass(frozen=True, eq=False)
class AttributeEncoder:
    """Which words and numbers of a catalogue's items are features, and how.

    Words are categories as they are, and string attributes as "name=value": multi-hot. Numbers (truth values, and
    times in years, too) are piecewise linear, so that "the nineties" can matter. What an item lacks is zero.
    """

    words: tuple[str, ...]
    numbers: tuple[NumberFeature, ...]

    @classmethod
    def fit(cls, items: Sequence[Item], parameters: TextParameters) -> AttributeEncoder:
        """Chooses the most frequent words and numbers of a catalogue."""
        counts = Counter(word for item in items for word in set(words_of(item)))
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        words = tuple(word for word, count in ranked[: parameters.max_words] if count >= MIN_WORD_COUNT)
        values: dict[str, list[float]] = {}
        for item in items:
            for name, value in numbers_of(item).items():
                values.setdefault(name, []).append(value)
        frequent = sorted(
            (n for n in values if len(values[n]) >= MIN_SHARE * len(items)), key=lambda n: -len(values[n])
        )
        numbers = []
        for name in frequent[: parameters.max_numbers]:
            knots = np.unique(np.quantile(np.array(values[name]), np.linspace(0, 1, parameters.knots)))
            if len(knots) > 1:
                numbers.append(NumberFeature(name, knots))
        return cls(words, tuple(numbers))

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.words) + sum(len(number.knots) for number in self.numbers)

    def encode(self, items: Sequence[Item]) -> F32:
        """Returns the features, (items, width)."""
        column = {word: place for place, word in enumerate(self.words)}
        words = np.zeros((len(items), len(self.words)), np.float32)
        for row, item in enumerate(items):
            for word in words_of(item):
                if word in column:
                    words[row, column[word]] = 1
        given = [numbers_of(item) for item in items]
        parts = [words]
        parts += [number.encode(np.array([own.get(number.name, np.nan) for own in given])) for number in self.numbers]
        return np.hstack(parts)

    def missing(self, features: F32) -> F32:
        """Returns which share of its kinds of attributes (words, numbers) each item lacks, 0 to 1; shape (items,).

        0 for all where the catalogue has no attributes at all.
        """
        parts = []
        if self.words:
            parts.append(~features[:, : len(self.words)].any(axis=1))
        start = len(self.words)
        lacking = []
        for number in self.numbers:
            end = start + len(number.knots)
            lacking.append(~features[:, start:end].any(axis=1))
            start = end
        if lacking:
            parts.append(np.mean(lacking, axis=0))
        if not parts:
            return np.zeros(len(features), np.float32)
        return np.asarray(np.mean(parts, axis=0, dtype=np.float64), np.float32)

    def to_json(self) -> dict[str, Any]:
        """Returns the encoder as JSON values."""
        numbers = [{"name": number.name, "knots": number.knots.tolist()} for number in self.numbers]
        return {"words": list(self.words), "numbers": numbers}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> AttributeEncoder:
        """Reads what `to_json` returned."""
        numbers = (NumberFeature(one["name"], np.array(one["knots"])) for one in values["numbers"])
        return cls(tuple(values["words"]), tuple(numbers))


def words_of(item: Item) -> Iterable[str]:
    """Yields the categories, and the string attributes as "name=value"."""
    yield from item.categories
    for name, value in item.attributes.items():
        if isinstance(value, str):
            yield f"{name}={value}"
        elif isinstance(value, tuple):
            yield from (f"{name}={one}" for one in value)


def numbers_of(item: Item) -> dict[str, float]:
    """Returns the numeric attributes; truth values as 0 and 1, times in years since 1970."""
    numbers = {}
    for name, value in item.attributes.items():
        if isinstance(value, datetime):
            numbers[name] = value.timestamp() / _SECONDS_PER_YEAR
        elif isinstance(value, bool | int | float):
            numbers[name] = float(value)
    return numbers
