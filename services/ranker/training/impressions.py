"""The second source of training lists: impressions in the log, joined to what came of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from services.ranker.nouns import ShownNote
from services.ranker.training.examination import by_taken, examination_of
from services.ranker.training.leak import check_shown
from services.ranker.training.shown import MAX_POSITION, shown_lists, wanted_recommendations
from shared.data.folds import ListKind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from services.ranker.ports import ImpressionReader
    from services.ranker.settings import RankerSettings
    from services.ranker.training.examination import Examination
    from services.ranker.training.learned import LearnedList
    from services.ranker.training.shown import ShownList, VisibleLog
    from shared.telemetry.progress import JobProgress

logger = structlog.get_logger(__name__)

STAGE = "impressions"
WANTED_PER_LIST = 3
"""So many recommendations are looked for per list that may be made: not every one that something was taken of has
impressions, or rows to learn from, and tokens of others may look like ours."""


@dataclass(frozen=True)
class Impressions:
    """Reads lists that were shown, and weighs them. Without a `reader` there are none."""

    reader: ImpressionReader | None
    settings: RankerSettings
    progress: JobProgress

    async def shown(self, log: VisibleLog, sequence: int, users: Collection[str] | None) -> list[ShownList]:
        """Returns the newest lists that something came of, oldest first, each for a fold that has not seen it, checked.

        What came of them is looked for first: of the impressions, most of a busy log, only those of these lists are
        kept. Of them the log is read to its end, not to `sequence`, where the jobs' log ends: an import may bring them
        after what came of them, and they tell no outcome. With `users`, lists of these users alone.

        Raises:
            DependencyUnavailable: ingestion does not answer.
            LeakFound: a list is asked of models that could have seen what came of it.

        """
        if self.reader is None or not self.settings.impression_lists:
            return []
        most = self.settings.impression_lists
        wanted = await asyncio.to_thread(wanted_recommendations, log, WANTED_PER_LIST * most, users)
        if not wanted:
            return []
        read = await self.reader.read(
            wanted,
            max_position=MAX_POSITION,
            on_record=lambda done: self.progress.update(STAGE, min(done, sequence), sequence),
        )
        self.progress.update(STAGE, sequence, sequence)
        made = await asyncio.to_thread(shown_lists, read, log, timedelta(seconds=self.settings.impression_window_s))
        lists = made[-most:]
        check_shown(log.folds, lists)
        logger.debug(
            "lists that were shown", wanted=len(wanted), impressions=len(read), made=len(made), kept=len(lists)
        )
        return lists

    def weighed(self, lists: Sequence[LearnedList]) -> tuple[list[LearnedList], Examination]:
        """Returns the lists, those that were shown as one per row that was taken, and the curve that they weigh by.

        The curve is read off lists that are learned from: those of held users are weighed by it, and tell it nothing.
        """
        shown = [one for one in lists if one.kind is ListKind.SHOWN]
        of_folds = [one for one in lists if one.kind is not ListKind.SHOWN]
        examination = examination_of([one for one in shown if not one.held])
        return [*of_folds, *by_taken(shown, examination, self.settings.impression_lists)], examination


def note_of(examination: Examination, lists: Sequence[LearnedList]) -> ShownNote:
    """Returns what is told of the lists that were shown; `lists` are all that were learned from."""
    return ShownNote(
        lists=examination.lists,
        taken=examination.taken,
        learned=sum(one.kind is ListKind.SHOWN for one in lists),
        explored=examination.explored,
        examination=examination.by_position() if examination.lists else (),
    )
