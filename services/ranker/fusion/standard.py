"""Features on one scale: what linear models, kernels and networks read. Missing values are the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from services.ranker.items.arrays import F32

MAX_Z = 4.0
"""Standard deviations after which values are cut."""
MIN_SPREAD = 1e-4


@dataclass(frozen=True)
class Standard:
    """z = (value - mean) * scale, cut at 4, 0 where missing; float32 (features,) both, scale 0 for what is not used."""

    mean: F32
    scale: F32

    @classmethod
    def of(cls, features: F32, names: Sequence[str], unused: Collection[str] = ()) -> Standard:
        """Returns the standard of training rows, float32 (rows, features); `unused` features are always 0.

        So are features that are the same, or missing, in all rows: nothing could be learned of them.
        """
        used = np.array([name not in unused for name in names])
        seen = ~np.isnan(features)
        counts = np.maximum(seen.sum(axis=0), 1)
        mean = np.where(seen, features, 0).sum(axis=0, dtype=np.float64) / counts
        variance = (np.where(seen, features - mean, 0) ** 2).sum(axis=0, dtype=np.float64) / counts
        spread = np.sqrt(variance)
        scale = np.where(used & (spread > MIN_SPREAD), 1 / np.maximum(spread, MIN_SPREAD), 0)
        return cls(mean.astype(np.float32), scale.astype(np.float32))

    def __call__(self, features: F32) -> F32:
        """Returns z of n rows: float32 (n, features)."""
        values = (features - self.mean) * self.scale
        np.nan_to_num(values, copy=False, nan=0.0)
        return np.clip(values, -MAX_Z, MAX_Z, out=values)
