"""What was current before: the way that rolling back goes, and what it does not come back to."""

from __future__ import annotations

import json
from dataclasses import dataclass

MAX_NAMES = 32
"""Names that each list of a history keeps, the last ones."""


@dataclass(frozen=True)
class History:
    """The versions of one kind that were current. Names only: some of them may be deleted since."""

    trail: tuple[str, ...] = ()
    """What was current, oldest first, up to what is; without what was rolled back from."""
    left: tuple[str, ...] = ()
    """What was rolled back from: not gone back to unless it is named."""

    @classmethod
    def from_json(cls, content: bytes) -> History:
        """Reads what `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is no history.

        """
        values = json.loads(content)
        return cls(_names(values["trail"]), _names(values["left"]))

    def to_json(self) -> bytes:
        """Returns the history as JSON, cut to `MAX_NAMES` of each list."""
        return json.dumps({"trail": self.trail[-MAX_NAMES:], "left": self.left[-MAX_NAMES:]}).encode()

    def at(self, current: str) -> History:
        """Returns the history as it must be when this is current: also where only one of the two files was written."""
        if current in self.trail:
            return self.back(current)
        return self.forward(current)

    def forward(self, version: str) -> History:
        """Returns the history after a new version, or one that is gone forward to, was made current."""
        return History((*_without(self.trail, version), version), _without(self.left, version))

    def back(self, version: str) -> History:
        """Returns the history after going back to a version: what was current since is left."""
        # One that is not in it is older than what is kept. Names begin with the time of their making.
        known = version in self.trail
        end = self.trail.index(version) if known else sum(name < version for name in self.trail)
        gone = self.trail[end:]
        left = (*_without(self.left, *gone, version), *_without(gone, version))
        return History((*self.trail[:end], version), left)


def _names(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(name, str) for name in values):
        raise TypeError("names are a list of strings")
    return tuple(values)


def _without(names: tuple[str, ...], *gone: str) -> tuple[str, ...]:
    return tuple(name for name in names if name not in gone)
