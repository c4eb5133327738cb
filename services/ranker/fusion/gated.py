"""Linear scores whose weights depend, smoothly, on how much is known of the user and of the item.

score = sum over features j of z_j * (sum over gates g of h_g * w_gj). z is the standardised value (0 when missing, cut
at 4). The gates h, for items that CF knows: 1, and hat functions of the history's length that sum to 1; for items that
it does not know: 1. For a given user and item everything is linear in z, so contributions are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.fusion.standard import Standard
from shared.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.ranker.items.arrays import F32, Mask

HISTORY_KNOTS = np.array([1, 4, 10, 40, 200], dtype=np.float32)
"""Places of the hat functions, events of the user."""
KNOTS = np.log1p(HISTORY_KNOTS)
USER_FEATURES = (
    "history_events",
    "history_likes",
    "history_like_share",
    "history_mean_rating",
    "temperature",
    "since_last_event",
    "session_events",
)
"""The same for all candidates of a list: they steer the weights and add nothing themselves."""
GATE, KNOWN = "history_events", "has_cf"


@dataclass(frozen=True)
class GatedLinear:
    """See the module's text. `weights`: float32 (gates, features); `gate` and `known` are columns of the features."""

    standard: Standard
    weights: F32
    gate: int
    known: int

    @classmethod
    def of(cls, features: F32, names: Sequence[str]) -> GatedLinear:
        """Returns a model of weights 0, with the standard of these training rows."""
        standard = Standard.of(features, names, (*USER_FEATURES, KNOWN))
        nothing = np.zeros((len(KNOTS) + 2, len(names)), dtype=np.float32)
        return cls(standard, nothing, names.index(GATE), names.index(KNOWN))

    def with_weights(self, weights: F32) -> GatedLinear:
        """Returns the model with other weights."""
        return replace(self, weights=np.asarray(weights, dtype=np.float32))

    def design(self, features: F32) -> tuple[F32, F32]:
        """Returns z, float32 (n, features), and the gates, float32 (n, gates): the score is the sum of h w z.

        The column of `has_cf` stands for the intercept: 1 where CF does not know the item.
        """
        known = features[:, self.known] > 0
        values = self.standard(features)
        values[:, self.known] = ~known
        return values, self._gates(features, known)

    def predict(self, features: F32) -> F32:
        """Returns scores: float32 (n,)."""
        values, gates = self.design(features)
        return np.asarray(np.einsum("ng,ng->n", gates, values @ self.weights.T), dtype=np.float32)

    def contributions(self, features: F32) -> F32:
        """Returns what each feature adds, float32 (n, features): the bias is 0."""
        values, gates = self.design(features)
        return np.asarray(values * (gates @ self.weights), dtype=np.float32)

    def save(self, path: Path, **more: object) -> None:
        """Writes one file, with further arrays."""
        arrays = {
            "mean": self.standard.mean,
            "scale": self.standard.scale,
            "weights": self.weights,
            "places": np.array([self.gate, self.known]),
        }
        np.savez(path, **arrays, **more)  # type: ignore[arg-type]  # its keywords are arrays

    @classmethod
    def load(cls, path: Path) -> tuple[GatedLinear, dict[str, F32]]:
        """Returns what `save` wrote, and the further arrays.

        Raises:
            CorruptData: the file cannot be read.

        """
        arrays = load_arrays(path)
        try:
            gate, known = (int(place) for place in arrays["places"])
            own = cls(Standard(arrays["mean"], arrays["scale"]), arrays["weights"], gate, known)
        except (ValueError, KeyError) as error:
            raise CorruptData(f"{path.name} cannot be read") from error
        return own, {
            name: array for name, array in arrays.items() if name not in ("mean", "scale", "weights", "places")
        }

    def _gates(self, features: F32, known: Mask) -> F32:
        own = known[:, None].astype(np.float32)
        return np.hstack([own, own * hats(features[:, self.gate]), 1 - own])


def hats(gate: F32, knots: F32 = KNOTS) -> F32:
    """Returns the hat functions on `knots`: float32 (n, knots), each row with sum 1."""
    inside = np.clip(np.nan_to_num(gate, nan=0.0), knots[0], knots[-1])
    right = np.clip(np.searchsorted(knots, inside), 1, len(knots) - 1)
    share = (inside - knots[right - 1]) / (knots[right] - knots[right - 1])
    out = np.zeros((len(gate), len(knots)), dtype=np.float32)
    every = np.arange(len(gate))
    out[every, right - 1] = 1 - share
    out[every, right] = share
    return out


def load_arrays(path: Path) -> dict[str, F32]:
    """Returns the arrays of a file.

    Raises:
        CorruptData: it cannot be read.

    """
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise CorruptData(f"{path.name} cannot be read") from error
