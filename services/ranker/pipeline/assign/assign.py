"""The variant of a request that names none: the default one, or what the evaluator's experiment assigns."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from shared.data.nouns import UserForgotten
from shared.errors import DependencyUnavailable, FusionrecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.ranker.pipeline.call import Call
    from services.ranker.ports import VariantAssigner
    from shared.data.nouns import LogRecord

COMPONENT = "evaluator"
DEFAULT_VARIANT = "default_variant"
"""Fall-back: the variant that answers when no experiment runs."""
STAGE = "assign"


class Assign:
    """Sets the variant of calls, by an experiment if one is named. Used in the event loop only.

    An assignment is kept for `max_age_s` seconds, of the `capacity` users who asked last; an older one is used where
    the evaluator does not answer: a user does not change sides for that.
    """

    def __init__(
        self,
        assigner: VariantAssigner,
        *,
        experiment: str,
        timeout: Callable[[], float],
        max_age_s: float,
        capacity: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keeps nothing yet; without an `experiment` nothing is ever assigned. `timeout()` is the wait, seconds."""
        self._assigner = assigner
        self._experiment = experiment
        self._timeout = timeout
        self._max_age_s = max_age_s
        self._capacity = capacity
        self._clock = clock
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._forgotten = 0

    async def variant(self, call: Call) -> None:
        """Sets the call's variant, or notes why it is the default one.

        Requests without a user and those that name a variant or a version of the model take part in no experiment.
        """
        question = call.question
        if not (self._experiment and question.user_id) or question.variant or question.model_version:
            return
        with call.stages.stage(STAGE):
            try:
                variant = await self._assigned(question.user_id)
            except FusionrecError as error:
                call.degrade(COMPONENT, error.message, DEFAULT_VARIANT)
                return
        if variant and call.model is not None and variant not in call.model.fusions:
            loaded = ", ".join(sorted(call.model.fusions))
            reason = f"experiment {self._experiment!r} assigns {variant!r}; loaded are {loaded}"
            call.degrade(COMPONENT, reason, DEFAULT_VARIANT)
            return
        call.question = replace(question, variant=variant)

    async def _assigned(self, user_id: str) -> str:
        known = self._known.get(user_id)
        if known is not None and self._clock() - known[1] < self._max_age_s:
            self._known.move_to_end(user_id)
            return known[0]
        mark = self._forgotten
        try:
            variant = await self._assigner.assign(self._experiment, user_id, self._timeout())
        except DependencyUnavailable:
            if known is None:
                raise
            return known[0]
        except FusionrecError:
            # It answers: the experiment has ended.
            self._known.pop(user_id, None)
            raise
        if mark == self._forgotten:
            self._known[user_id] = (variant, self._clock())
            self._known.move_to_end(user_id)
            if len(self._known) > self._capacity:
                self._known.popitem(last=False)
        return variant

    def apply(self, records: Iterable[LogRecord]) -> None:
        """Drops the users who were erased."""
        for record in records:
            if isinstance(record.body, UserForgotten):
                self._forgotten += 1
                self._known.pop(record.body.user_id, None)

    def reset(self) -> None:
        """Drops all users: the log was replaced by another one."""
        self._forgotten += 1
        self._known.clear()
