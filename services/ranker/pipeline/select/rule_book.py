"""The rules file as it holds now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.ranker.pipeline.select.options import NO_DEFAULTS, Defaults
from shared.watched import Watched

if TYPE_CHECKING:
    from shared.watched import WatchedSource


class RuleBook(Watched[Defaults]):
    """See `Watched`; without a source nothing is said by default."""

    def __init__(self, source: WatchedSource[Defaults] | None = None) -> None:
        super().__init__(source, NO_DEFAULTS, "rules")
