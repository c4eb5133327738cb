"""The use cases: candidates, similar items, what is loaded."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.index.spaces import CF, CONTENT, SPACES, unit
from services.candidates.profile import build_profile
from services.candidates.queries import (
    CandidateAnswer,
    CandidateQuery,
    IndexInfo,
    Served,
    ServiceInfo,
    SimilarAnswer,
    SourceInfo,
    UsersAnswer,
    VersionInfo,
)
from shared.data.nouns import temperature
from shared.errors import FusionrecError, InvalidField, ModelMismatch, NotFound, shown
from shared.telemetry.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.candidates.arrays import F32
    from services.candidates.live.histories import LiveHistories
    from services.candidates.live.version import LiveVersion
    from services.candidates.merge.finder import CandidateFinder
    from services.candidates.ports import KnowsUsers, VersionedEmbedder
    from services.candidates.profile import Profile
    from services.candidates.queries import CandidateSet, SimilarQuery, UsersQuery
    from services.candidates.versions.keeper import Versions
    from services.candidates.versions.version import Version
    from services.candidates.workers import Workers
    from shared.data.nouns import HistoryEvent
    from shared.data.preferences import PreferenceRules

SERVICE = "candidates"
ENCODERS_S = 1.0
"""Time that embedding gets to say which encoder is current, when somebody asks what is loaded, seconds."""


class CandidatesService:
    """Answers questions with the versions at hand. Computes in threads, never in the event loop."""

    def __init__(
        self,
        *,
        versions: Versions,
        finder: CandidateFinder,
        histories: LiveHistories,
        embedder: VersionedEmbedder,
        rules: PreferenceRules,
        workers: Workers,
    ) -> None:
        self._versions = versions
        self._finder = finder
        self._histories = histories
        self._embedder = embedder
        self._rules = rules
        self._workers = workers

    async def get_candidates(self, query: CandidateQuery) -> CandidateAnswer:
        """Returns candidates for one user.

        Raises:
            ModelNotReady, NotFound: there is no such version.
            InvalidField: an unknown source or attribute.
            ModelMismatch: to be merged by quotas, which the version has not learned.
            DependencyUnavailable: the history must be read and ingestion does not answer.

        """
        stages = Stages(SERVICE)
        version, is_live = await self._versions.get(query.model_version)
        with stages.stage("history"):
            history = await self._history(query, is_live=is_live)
        live = self._versions.live
        is_plain = query.history is None and query.as_of is None
        if not is_plain or live is None or live.version is not version:
            return await self._workers.run(self._answer, version, None, query, history, stages)
        basis = live.basis(history)
        answer = live.answers.find(query, basis)
        if answer is None:
            answer = await self._workers.run(self._answer, version, live, query, history, stages)
            live.answers.keep(query, basis, answer)
        return answer

    async def batch_get_candidates(self, queries: Sequence[CandidateQuery]) -> list[CandidateAnswer]:
        """Returns the answers in the order of the queries; one that fails fails the call and ends the others.

        Raises:
            FusionrecError: as `get_candidates`, of the query that failed first.

        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.get_candidates(query)) for query in queries]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def get_similar_items(self, query: SimilarQuery) -> SimilarAnswer:
        """Returns the nearest items by cosine.

        Raises:
            ModelNotReady, NotFound: there is no such version or item, or the item has no vector in the space.
            InvalidField: an unknown space, a vector that does not fit it, or a vector or text without a direction.
            ModelMismatch: the text would be embedded by another model than the version's.
            DependencyUnavailable: a text must be embedded and embedding does not answer.

        """
        stages = Stages(SERVICE)
        space = query.space or CF
        if space not in SPACES:
            raise InvalidField("space", query.space, f"one of {', '.join(SPACES)}", "leave it empty for cf")
        version, _ = await self._versions.get(query.model_version)
        embedding = ""
        if query.text:
            with stages.stage("embed"):
                vector = await self._text_vector(version, query.text, space)
            embedding = version.about.embedding_version
        elif query.vector is not None:
            vector = _checked(query.vector, version, space)
        else:
            vector = _vector_of(version, query.item_id, space)
        with stages.stage("search"):
            found = await self._workers.run(_nearest, version, query, space, vector)
        served = Served(version.about.version, version.index_version, tuple(stages.times), embedding)
        return SimilarAnswer(*found, space, served)

    async def get_similar_users(self, query: UsersQuery) -> UsersAnswer:
        """Returns the users nearest to a user.

        Raises:
            ModelNotReady, NotFound: there is no such version, or the user likes nothing that it knows.
            ModelMismatch: the version was trained without the source that knows users.
            DependencyUnavailable: the history must be read and ingestion does not answer.

        """
        stages = Stages(SERVICE)
        version, is_live = await self._versions.get(query.model_version)
        neighbours = version.neighbours
        if neighbours is None:
            raise ModelMismatch(
                f"candidates {version.about.version} was trained without the source user_knn: add it to "
                "CANDIDATES_SOURCES and train"
            )
        with stages.stage("history"):
            history = await self._history(query, is_live=is_live)
        with stages.stage("search"):
            profile, user_ids, found = await self._workers.run(self._neighbours, version, neighbours, query, history)
        if not user_ids and not len(profile.liked):
            raise NotFound("the user likes nothing that the model knows: there is nobody to compare with")
        served = Served(version.about.version, version.index_version, tuple(stages.times))
        return UsersAnswer(user_ids, found.tolist(), served)

    async def info(self, name: str) -> ServiceInfo:
        """Returns what is loaded of a version, an empty name meaning the current one.

        Raises:
            NotFound: no version of that name.

        """
        abouts = await self._versions.known()
        live = self._versions.live
        current = "" if live is None else live.version.about.version
        versions = tuple(
            VersionInfo(one.version, one.created_at, one.labels, one.lineage, one.sequence, one.version == current)
            for one in abouts
        )
        if not name and live is None:
            return ServiceInfo(self._versions.reason, versions)
        version, is_live = await self._versions.get(name)
        outdated = "" if name else await self._outdated(version.about.embedding_version)
        return ServiceInfo(
            status_reason="; ".join(one for one in (self._versions.reason, outdated) if one),
            versions=versions,
            model_version=version.about.version,
            index_version=version.index_version,
            embedding_version=version.about.embedding_version,
            sources=tuple(
                SourceInfo(
                    one.name, one.description, one.n_items, self._finder.proposes(one), one in version.live_sources
                )
                for one in version.sources.values()
            ),
            indexes=tuple(IndexInfo.of(one.name, one.index, one.trained_rows) for one in version.indexes),
            catalogue_items=version.table.alive_count,
            has_quotas=version.quotas is not None,
            cursor=live.cursor if is_live and live is not None else version.about.cursor,
        )

    async def _outdated(self, used: str) -> str:
        """Returns that embedding has another current version than the model uses; empty when not, or not to be had."""
        try:
            async with asyncio.timeout(ENCODERS_S):
                current = [one.version for one in await self._embedder.versions() if one.is_current]
        except (FusionrecError, TimeoutError):
            return ""
        if not current or used in current:
            return ""
        return f"embedding {current[0]} is current, this model uses {used}: train anew to use it"

    async def _history(self, query: CandidateQuery | UsersQuery, *, is_live: bool) -> tuple[HistoryEvent, ...]:
        if query.history is not None:
            return query.history
        read = self._histories.read if is_live else self._histories.read_stored
        events = await read(query.user_id)
        as_of = query.as_of if isinstance(query, CandidateQuery) else None
        return events if as_of is None else tuple(event for event in events if event.timestamp < as_of)

    def _answer(
        self,
        version: Version,
        live: LiveVersion | None,
        query: CandidateQuery,
        history: tuple[HistoryEvent, ...],
        stages: Stages,
    ) -> CandidateAnswer:
        now = datetime.now(UTC)
        as_of = query.as_of or now
        profile = self._profile(version, live, query.user_id, history, as_of)
        found: CandidateSet
        if query.score_item_ids:
            found = self._finder.score(version, query, profile, stages)
        else:
            found = self._finder.find(version, query, profile, as_of, stages)
        profile.shrink()
        served = Served(version.about.version, version.index_version, tuple(stages.times))
        return CandidateAnswer(found, temperature(profile.events), served, now)

    def _neighbours(
        self, version: Version, neighbours: KnowsUsers, query: UsersQuery, history: tuple[HistoryEvent, ...]
    ) -> tuple[Profile, list[str], F32]:
        profile = self._profile(version, None, query.user_id, history, datetime.now(UTC))
        return profile, *neighbours.similar_users(profile, query.k)

    def _profile(
        self,
        version: Version,
        live: LiveVersion | None,
        user_id: str,
        history: tuple[HistoryEvent, ...],
        as_of: datetime,
    ) -> Profile:
        asked_at = as_of.timestamp()
        if live is not None:
            return live.profiles.of(user_id, history, asked_at)
        return build_profile(history, version.table.rows, self._rules, asked_at=asked_at, user_id=user_id)

    async def _text_vector(self, version: Version, text: str, space: str) -> F32:
        embedded = await self._embedder.embed([text], urgent=True, version=version.about.embedding_version)
        if embedded.version != version.about.embedding_version:
            raise ModelMismatch(
                f"candidates {version.about.version} has vectors of embedding {version.about.embedding_version}, the "
                f"embedding service makes those of {embedded.version}: train anew"
            )
        if np.isnan(embedded.vectors).any():
            raise InvalidField("text", text, "a text with words", "the language model found nothing to read in it")
        if space == CONTENT:
            return _direction(np.asarray(embedded.vectors[0]), "text", text)
        mapped = await self._workers.run(version.text_map.map_text, embedded.vectors)
        return _direction(np.asarray(mapped[0]), "text", text)


def _checked(vector: F32, version: Version, space: str) -> F32:
    dim = version.spaces.similar[space].dim
    if len(vector) != dim:
        raise InvalidField("vector.dim", len(vector), f"{dim}, the dimension of {space}", "send a vector of that space")
    return _direction(vector, "vector.data", f"a vector of length {np.linalg.norm(vector.astype(np.float64)):.3g}")


def _direction(vector: F32, field: str, value: str) -> F32:
    found: F32 = unit(vector[None, :])[0]
    if not np.isfinite(found).all():
        raise InvalidField(field, value, "a vector with a length above 0 in float32", "cosine needs a direction")
    return found


def _vector_of(version: Version, item_id: str, space: str) -> F32:
    row = version.table.rows.get(item_id)
    if row is None or version.table.item(row) is None:
        raise NotFound(f"no item {shown(item_id)} in the catalogue")
    vector: F32 = version.spaces.similar[space].vectors(np.array([row], np.int64))[0]
    if np.isnan(vector).any():
        raise NotFound(f"item {shown(item_id)} has no vector in the space {space}: it has no text or waits for it")
    return vector


def _nearest(version: Version, query: SimilarQuery, space: str, direction: F32) -> tuple[list[str], list[float]]:
    own = version.table.rows.get(query.item_id)
    hidden = np.array([] if own is None else [own], np.int64)
    allowed = version.table.allowed(query.item_filter, datetime.now(UTC), hidden)
    rows, cosines = version.spaces.similar[space].search(direction, query.k, allowed)
    return [version.table.ids[row] for row in rows.tolist()], np.clip(cosines, -1, 1).tolist()
