"""Hyperparameters of the sources; the defaults are what was best on MovieLens (docs of the fields say of what)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AlsParameters:
    """Of the matrix factorisation."""

    factors: int = 64
    """Length of the item vectors."""
    regularization: float = 20.0
    """L2 penalty of both sides."""
    alpha: float = 1.0
    """Confidence per BM25 weight."""
    iterations: int = 15
    """Alternating passes."""
    bm25_k1: float = 100.0
    """Saturation of a like's strength."""
    bm25_b: float = 0.5
    """Normalisation by the number of the user's likes, 0 to 1."""


@dataclass(frozen=True)
class ItemItemParameters:
    """Of the linear item-item model."""

    regularization: float = 120.0
    """L2 penalty (lambda of EASE)."""
    min_likes: int = 3
    """Items with fewer likes are left to the other sources."""
    max_items: int = 8_000
    """At most this many items, the most liked: the solve takes time cubic and memory square in it."""
    neighbours: int = 500
    """Weights kept per item, the largest by absolute value."""


@dataclass(frozen=True)
class TextParameters:
    """Of the map from text and attributes to the ALS space."""

    regularization: float = 3.0
    """L2 penalty of the ridge."""
    masked_weight: float = 0.5
    """Weight of the copies of the training items that show only their title."""
    masked_items: int = 3_000
    """Training items, the most liked, that have such a copy: their titles are embedded a second time, alone."""
    neighbours: int = 5
    """Items with such a copy whose titles speak for an item with missing attributes."""
    sharpness: float = 15.0
    """Inverse temperature of the softmax over the neighbours' cosines."""
    neighbour_share: float = 0.5
    """What the neighbours add, times the share of the item's attributes that is missing."""
    max_words: int = 64
    """Categories and attribute words that become features, the most frequent."""
    max_numbers: int = 16
    """Numeric attributes that become features, the most frequent."""
    knots: int = 14
    """Knots of a numeric attribute's piecewise-linear features, at its quantiles."""


@dataclass(frozen=True)
class Hyperparameters:
    """Of all sources."""

    als: AlsParameters = AlsParameters()
    item_item: ItemItemParameters = ItemItemParameters()
    text: TextParameters = TextParameters()
    seed: int = 7
    """Seed of everything random in training."""
    threads: int = 2
    """Threads of the ALS fit."""
