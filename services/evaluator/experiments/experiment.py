"""An experiment, and the variant of it that a user is in."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from shared.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

OUTSIDE = ""
"""The variant of users who do not take part: the ranker's default one."""
_DRAWS = 2**64


@dataclass(frozen=True)
class Experiment:
    """Names a ranker's variants and how users are shared between them.

    `weights` are in proportion; `share` of all users (above 0, at most 1) take part. Another `salt` shares anew.
    """

    name: str
    weights: Mapping[str, float]
    share: float
    salt: str

    def variant(self, user_id: str) -> str:
        """Returns the user's variant, `OUTSIDE` for who does not take part.

        Two hashes of the user's id are two even draws (Kohavi, Tang and Xu 2020, chapter 14): whether the user takes
        part, and in what. So the same user is in the same variant on every server and after every restart, a larger
        share takes in more users and moves none, and experiments of different salts are independent of each other.
        """
        if self._draw("share", user_id) >= self.share:
            return OUTSIDE
        # In order of their names: the order in the file moves nobody.
        names = sorted(self.weights)
        ends = list(accumulate(self.weights[name] for name in names))
        place = bisect_right(ends, self._draw("variant", user_id) * ends[-1])
        # The product may round up to the end.
        return names[min(place, len(names) - 1)]

    def _draw(self, purpose: str, user_id: str) -> float:
        digest = hashlib.sha256(f"{self.salt}\0{purpose}\0{user_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / _DRAWS


def experiment_of(experiments: Mapping[str, Experiment], name: str) -> Experiment:
    """Returns an experiment by its name.

    Raises:
        NotFound: there is none of that name; the message lists those that there are.

    """
    found = experiments.get(name)
    if found is None:
        known = ", ".join(sorted(experiments)) or "none: name a file of experiments in EVALUATOR_EXPERIMENTS"
        raise NotFound(f"no experiment {name[:64]!r}; there are {known}")
    return found
