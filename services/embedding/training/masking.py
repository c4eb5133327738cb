"""Masked-language pretraining on a catalogue's own texts: which tokens are hidden, and behind what.

Of the tokens that are not special a share is chosen; of those 80 % are replaced by the mask token, 10 % by a random
token, 10 % stay as they are (Devlin et al. 2019, "BERT"). Drawn anew in every pass (Liu et al. 2019, "RoBERTa").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

MASKED, RANDOM = 0.8, 0.1


@dataclass(frozen=True, eq=False)
class MaskedBatch:
    """Texts with hidden tokens."""

    rows: tuple[tuple[int, ...], ...]
    """Token ids with some replaced."""
    places: NDArray[np.int64]
    """(hidden, 2): text and position of each hidden token."""
    labels: NDArray[np.int64]
    """(hidden,): the ids that were there."""


class MaskSampler:
    """Draws batches of texts with hidden tokens; the batch of a step depends on seed and step alone."""

    def __init__(
        self,
        texts: Sequence[tuple[int, ...]],
        *,
        mask_id: int,
        special: Collection[int],
        vocabulary: int,
        share: float,
        batch: int,
        seed: int,
    ) -> None:
        self._texts = [text for text in texts if any(token not in set(special) for token in text)]
        self._mask_id, self._special, self._vocabulary = mask_id, frozenset(special), vocabulary
        self._share, self._batch, self._seed = share, batch, seed

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every text comes once."""
        return max(1, -(-len(self._texts) // self._batch))

    def batch(self, step: int) -> MaskedBatch:
        """Returns the batch of a step. Every text has at least one hidden token."""
        epoch, turn = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._texts))
        random = np.random.default_rng([self._seed, epoch, turn])
        rows, places, labels = [], [], []
        for row, text in enumerate(order[turn * self._batch : (turn + 1) * self._batch].tolist()):
            tokens = list(self._texts[text])
            own = [place for place, token in enumerate(tokens) if token not in self._special]
            count = max(1, round(self._share * len(own)))
            for place in sorted(random.choice(own, count, replace=False).tolist()):
                places.append((row, place))
                labels.append(tokens[place])
                tokens[place] = self._shown(random, tokens[place])
            rows.append(tuple(tokens))
        return MaskedBatch(tuple(rows), np.array(places, np.int64), np.array(labels, np.int64))

    def _shown(self, random: np.random.Generator, token: int) -> int:
        drawn = random.random()
        if drawn < MASKED:
            return self._mask_id
        return int(random.integers(self._vocabulary)) if drawn < MASKED + RANDOM else token
