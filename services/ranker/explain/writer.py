"""Sentences by a small language model, within bounds; the template stays wherever it does not manage in time."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from services.ranker.explain.facts import Facts, facts_of, fault_of
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ranker.nouns import Explanation
    from services.ranker.ports import SentenceModel

log = structlog.get_logger(__name__)

INSTRUCTION = (
    "You explain recommendations in one short, friendly sentence to the user. Use only the facts you are given, with "
    "the titles exactly as they are written. Name no other titles, people, years or places."
)
_LIKED = ("Brazil", "Amelie")
EXAMPLES = {
    "behaviour": (
        Facts("Delicatessen", _LIKED, by_behaviour=True, is_new=False, template=""),
        "You liked Brazil and Amelie, and people who liked them also liked Delicatessen.",
    ),
    "text": (
        Facts("Delicatessen", _LIKED, by_behaviour=False, is_new=False, template=""),
        "Since you liked Brazil and Amelie, you might enjoy Delicatessen: it is about similar things.",
    ),
    "popular": (
        Facts("Delicatessen", (), by_behaviour=False, is_new=False, template=""),
        "Delicatessen is popular with many people.",
    ),
}
"""What the model is shown, by the kind of reason."""


def conversation(facts: Facts) -> list[dict[str, str]]:
    """Returns what the model is told: the instruction, an example of the same kind, the facts."""
    kind = "popular" if not facts.liked else "behaviour" if facts.by_behaviour else "text"
    shown, example = EXAMPLES[kind]
    return [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": "\n".join(shown.lines)},
        {"role": "assistant", "content": example},
        {"role": "user", "content": "\n".join(facts.lines)},
    ]


class SentenceWriter:
    """Writes for one answer at a time, on a thread of its own; another answer keeps its templates meanwhile."""

    def __init__(self, model: SentenceModel, *, within_s: float) -> None:
        self._model = model
        self._within_s = within_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sentences")
        self._busy = False

    async def write(
        self, explanations: Sequence[Explanation], titles: Sequence[str], is_new: Sequence[bool]
    ) -> list[Explanation]:
        """Returns the explanations, the first ones with sentences of the model: as many as the time is enough for."""
        if self._busy:
            metrics.SENTENCES.labels("busy").inc(len(explanations))
            return list(explanations)
        facts = [facts_of(one, title, is_new=new) for one, title, new in zip(explanations, titles, is_new, strict=True)]
        until = time.monotonic() + self._within_s
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._sentences, facts, until)
        # Only now: were anything before this to fail, nothing would ever end it.
        self._busy = True
        # The thread ends by itself when the time is up: also for a caller who is gone.
        work.add_done_callback(self._ended)
        sentences = await asyncio.shield(work)
        name = self._model.name
        return [
            replace(one, sentence=own, sentence_by=name) if own else one
            for one, own in zip(explanations, sentences, strict=True)
        ]

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ended(self, _work: asyncio.Future[list[str]]) -> None:
        self._busy = False

    def _sentences(self, facts: Sequence[Facts], until: float) -> list[str]:
        return [self._sentence_or_none(one, until) for one in facts]

    def _sentence_or_none(self, facts: Facts, until: float) -> str:
        try:
            return self._sentence(facts, until)
        except Exception:
            # A sentence is worth less than the answer, and than the other ones.
            metrics.SENTENCES.labels("failed").inc()
            log.exception("a sentence could not be written")
            return ""

    def _sentence(self, facts: Facts, until: float) -> str:
        if not facts.title or time.monotonic() >= until:
            metrics.SENTENCES.labels("late" if facts.title else "refused").inc()
            return ""
        written = self._model.complete(conversation(facts), until)
        if not written:
            metrics.SENTENCES.labels("late").inc()
            return ""
        sentence = " ".join(written.split()).strip('"')
        fault = fault_of(sentence, facts)
        metrics.SENTENCES.labels("refused" if fault else "written").inc()
        if fault:
            log.debug("a written sentence was refused", reason=fault)
            return ""
        return sentence
