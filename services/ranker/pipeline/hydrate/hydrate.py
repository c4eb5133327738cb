"""Who asks: the history, the temperature, the time of the question, the text profile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.profile import TextProfile, UserProfile
from services.ranker.pipeline.call import CF_ONLY, FULL_FUSION, POPULAR
from services.ranker.pipeline.hydrate.known import KnownUser
from shared.data.texts import profile_texts
from shared.errors import DependencyUnavailable, FusionrecError

if TYPE_CHECKING:
    from services.ranker.items.live import LiveItems
    from services.ranker.pipeline.call import Call
    from services.ranker.pipeline.hydrate.known import KnownHistories
    from services.ranker.pipeline.timeouts import Timeouts
    from services.ranker.ports import HistoryReader, TextEncoder
    from shared.data.preferences import PreferenceRules

STAGE = "hydrate"


class Hydrate:
    """Two steps: `history` first; `texts` after it, beside the search for candidates."""

    def __init__(
        self,
        reader: HistoryReader,
        encoder: TextEncoder,
        live: LiveItems,
        known: KnownHistories,
        timeouts: Timeouts,
        *,
        preferences: PreferenceRules,
        history_limit: int,
        profile_texts: int,
    ) -> None:
        self._reader = reader
        self._encoder = encoder
        self._live = live
        self._known = known
        self._timeouts = timeouts
        self._preferences = preferences
        self._history_limit = history_limit
        self._profile_texts = profile_texts

    async def history(self, call: Call) -> None:
        """Sets the user's profile and the time that features are computed for."""
        with call.stages.stage(STAGE):
            question = call.question
            if question.history is not None:
                call.profile = UserProfile.of(question.history, self._preferences)
            else:
                call.profile = await self._stored(call)
            # Without a given time, the question is asked when the log's events end: for a log that is written to,
            # that is now; for one that was imported, recency and age stay what they were.
            ends = call.table.popularity.clock or int(call.at.timestamp())
            call.at_second = int(question.as_of.timestamp()) if question.as_of else min(ends, int(call.at.timestamp()))

    async def texts(self, call: Call) -> None:
        """Sets the text profile; without the embedding service the language model takes no part."""
        started = time.perf_counter()
        profile = call.user()
        likes = [self._live.text(item_id) for item_id in profile.liked[-self._profile_texts :]]
        texts = profile_texts(likes, profile.reviews, self._profile_texts)
        if not texts:
            return
        try:
            # The version that the model was trained with, whatever the embedding service has swapped to since.
            wanted = call.table.embedding_version
            embedded = await self._encoder.embed(texts, self._timeouts.embedding(), version=wanted)
            if wanted and embedded.version != wanted:
                reason = f"it serves version {embedded.version}, the model was made with {wanted}"
                call.degrade("embedding", reason, CF_ONLY)
                call.language_model = False
            elif embedded.ok.any():
                vectors = embedded.vectors[embedded.ok]
                centred = call.table.centre_off(vectors, np.ones(len(vectors), dtype=np.bool_))
                call.texts = TextProfile(centred)
        except FusionrecError as error:
            call.degrade("embedding", error.message, CF_ONLY)
            call.language_model = False
        call.stages.add(STAGE, time.perf_counter() - started)

    async def _stored(self, call: Call) -> UserProfile:
        user_id, as_of, mark = call.question.user_id, call.question.as_of, self._known.mark
        known = self._known.get(user_id)
        before = known.history if known is not None and as_of is None else None
        try:
            timeout_s = self._timeouts.history()
            history = await self._reader.history(user_id, self._history_limit, as_of, timeout_s, before)
        except DependencyUnavailable as error:
            known = self._known.get(user_id)
            call.degrade("ingestion", error.message, POPULAR if known is None else FULL_FUSION)
            return UserProfile.of((), self._preferences) if known is None else known.profile
        if known is not None and history.events is known.history.events:
            profile = known.profile
        else:
            profile = UserProfile.of(history.events, self._preferences)
        if as_of is None:
            self._known.put(user_id, KnownUser(history, profile), mark)
        return profile
