"""Every kind of encoder on MovieLens, through the same map: what its vectors are worth to candidates.

    python -m benchmarks.embedding.encoders [--small] [--only KIND …] [--gpt FOLDER]

Each encoder makes the catalogue's vectors; the sources `aligned_text` (the ridge map into the collaborative space) and
`content` (cosine to the mean of the likes) rank with them. Full ranking, NDCG@10, the splits of
`shared/data/splits.py`: warm, new items (hidden from the fits of the encoders, too), new users (by length of history).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.candidates import data as datasets
from benchmarks.candidates import fitting
from benchmarks.candidates.quality import Case, new_item_cases, source_quality, warm_cases
from benchmarks.candidates.report import table
from services.candidates.catalogue.table import ItemTable
from services.candidates.ports import Embedded
from services.candidates.sources import aligned_text, als, content
from services.candidates.sources.aligned_text import ItemTexts
from services.candidates.sources.kind import TrainingData
from services.candidates.training.embedding import embed_items, titles_needed
from services.candidates.versions.version import Models
from services.embedding.adapters.base_model import BaseModel
from services.embedding.bootstrap import make_encoders
from services.embedding.encoders import bow, tfidf, word2vec
from services.embedding.settings import EmbeddingSettings
from shared.data.splits import by_user, hidden_items, hidden_users, per_user_chronological
from shared.data.texts import item_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from benchmarks.candidates.data import Data
    from services.candidates.training.likes import Likes
    from services.embedding.encoders.terms import TermModel
    from services.embedding.ports import LoadedModel
    from shared.data.nouns import Event

NDCG = "ndcg@10"
SOURCES = (aligned_text.KIND.name, content.KIND.name)
HISTORIES = (1, 3, 5, 10)
BATCH_TEXTS = 32
NO_TEXTS = ItemTexts(np.empty((0, 1), np.float32), np.empty((0, 1), np.float32))
"""The matrix factorisation reads no texts."""
NETWORK = EmbeddingSettings(xla_shapes=())


@dataclass(frozen=True)
class Setting:
    """One protocol: what may be learned from, and who is asked what."""

    name: str
    events: Sequence[Event]
    cases: Sequence[Case]
    hidden: frozenset[str] = frozenset()
    """Items that no fit may see; ranked among themselves."""


FITS: dict[str, Callable[[Sequence[str], Sequence[Sequence[int]]], TermModel]] = {
    "bow": lambda texts, _sessions: bow.fit(texts),
    "tfidf": lambda texts, _sessions: tfidf.fit(texts),
    "word2vec texts": lambda texts, _sessions: word2vec.fit(texts),
    "word2vec sessions": lambda texts, sessions: word2vec.fit(texts, sessions=sessions),
}


class InProcess:
    """`TextEmbedder` on a loaded encoder, sorted by length, in batches."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    async def embed(self, texts: Sequence[str], *, urgent: bool, version: str = "") -> Embedded:
        """Returns one vector per text, NaN where there is nothing to read."""
        del urgent, version
        facts = self._model.encoder.facts
        tokenized = self._model.tokenizer.tokenize(texts)
        vectors = np.full((len(texts), facts.dim), np.nan, np.float32)
        readable = sorted(
            (place for place, one in enumerate(tokenized) if one.content), key=lambda place: len(tokenized[place].ids)
        )
        for start in range(0, len(readable), BATCH_TEXTS):
            places = readable[start : start + BATCH_TEXTS]
            vectors[places] = self._model.encoder.encode([tokenized[place].ids for place in places])
        return Embedded(vectors, facts.version)


def settings_of(data: Data) -> list[Setting]:
    """Returns the three protocols; new users once per length of history."""
    splits = per_user_chronological(by_user(data.events)).values()
    warm = [event for split in splits for event in (*split.train, *split.validation)]
    hidden = hidden_items(event for event in data.events if fitting.is_positive(event))
    seen = [event for event in data.events if event.item_id not in hidden]
    newcomers = hidden_users(data.events)
    others = [event for event in data.events if event.user_id not in newcomers]
    made = [
        Setting("warm", warm, warm_cases(data)),
        Setting("new items", seen, new_item_cases(data, hidden), hidden),
    ]
    asked = ((length, newcomer_cases(data, newcomers, length)) for length in HISTORIES)
    return [*made, *(Setting(f"new users {length}", others, cases) for length, cases in asked)]


def newcomer_cases(data: Data, users: Collection[str], length: int) -> list[Case]:
    """Returns the hidden users with their first events as history and a later positive on another item."""
    cases = []
    for user, own in by_user(data.events).items():
        history = own[:length]
        known = {event.item_id for event in history}
        relevant = {event.item_id for event in own[length:] if fitting.is_positive(event)} - known
        if user in users and len(history) == length and relevant:
            cases.append(Case(user, history, frozenset(relevant)))
    return cases


def sessions_of(events: Sequence[Event], rows: dict[str, int]) -> list[list[int]]:
    """Returns the rows of what each user liked, in the order of time."""
    return [
        [rows[event.item_id] for event in own if fitting.is_positive(event) and event.item_id in rows]
        for own in by_user(events).values()
    ]


def fitted_encoder(fit: Any, data: Data, setting: Setting, encoders: Any) -> LoadedModel:
    """Returns an encoder fitted on what a protocol shows, saved and loaded as the service loads it."""
    shown = [item for item in data.items if item.item_id not in setting.hidden]
    rows = {item.item_id: row for row, item in enumerate(shown)}
    model: TermModel = fit([item_text(item) for item in shown], sessions_of(setting.events, rows))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        loaded: LoadedModel = encoders.load(Path(folder), "benchmark", lambda: None)
    return loaded


def measure(data: Data, names: Collection[str], gpt: str = "") -> dict[str, dict[str, Any]]:
    """Returns NDCG@10 by encoder, protocol and source, with the seconds that fits and vectors took."""
    encoders = make_encoders(NETWORK)
    networks = {"bert": NETWORK.model, **({"gpt": gpt} if gpt else {})}
    figures: dict[str, dict[str, Any]] = {name: {"encode_s": 0.0, "fit_s": 0.0} for name in names}
    vectors: dict[str, Any] = {}
    by_events: dict[int, tuple[Likes, Any]] = {}
    settings = settings_of(data)
    everyone = [fitting.judged(setting.events, data.items) for setting in settings]
    titles = titles_needed(data.items, (one.per_item for one in everyone), fitting.SETTINGS.hyperparameters.text)
    for setting, likes in zip(settings, everyone, strict=True):
        if id(setting.events) not in by_events:
            nothing = TrainingData(data.items, NO_TEXTS, likes, fitting.SETTINGS.hyperparameters)
            by_events[id(setting.events)] = (likes, als.KIND.fit(nothing, {}))
            vectors = {name: texts for name, texts in vectors.items() if name in networks}
        factors = by_events[id(setting.events)][1]
        for name in names:
            if name not in vectors:
                vectors[name] = _vectors(name, networks, data, setting, titles, encoders, figures[name])
            figures[name][setting.name] = _quality(data, setting, likes, factors, vectors[name])
            sys.stderr.write(f"{setting.name}: {name} {figures[name][setting.name]}\n")
    return figures


def _vectors(
    name: str,
    networks: dict[str, str],
    data: Data,
    setting: Setting,
    titles: Any,
    encoders: Any,
    figures: dict[str, Any],
) -> Any:
    started = time.perf_counter()
    if name in networks:
        base = BaseModel(networks[name], encoders, pooling="mean", max_tokens=NETWORK.max_tokens)
        model = base.load(lambda: None)
    else:
        model = fitted_encoder(FITS[name], data, setting, encoders)
    loaded = time.perf_counter()
    texts, _ = asyncio.run(embed_items(data.items, titles, InProcess(model), lambda _done, _total: None))
    figures["fit_s"] = round(loaded - started, 1)
    figures["encode_s"] = round(time.perf_counter() - loaded, 1)
    figures["dim"] = model.encoder.facts.dim
    figures["parameters"] = model.encoder.facts.parameters
    return texts


def _quality(data: Data, setting: Setting, likes: Likes, factors: Any, texts: Any) -> dict[str, float]:
    given = TrainingData(data.items, texts, likes, fitting.SETTINGS.hyperparameters)
    models: dict[str, Any] = {als.KIND.name: factors}
    for kind in (aligned_text.KIND, content.KIND):
        models[kind.name] = kind.fit(given, models)
    own = ItemTable()
    for item in data.items:
        own.put(item)
    mapped = models[aligned_text.KIND.name].map(data.items, texts)
    made = Models(own, models, mapped, texts.full, np.asarray(likes.events))
    version = fitting.Fitted(made, {}).version()
    pool = np.array([own.rows[item_id] for item_id in sorted(setting.hidden)]) if setting.hidden else None
    return {name: source_quality(version, version.sources[name], setting.cases, pool)[NDCG] for name in SOURCES}


def markdown(figures: dict[str, dict[str, Any]]) -> str:
    """Returns the table: aligned / content per protocol."""
    protocols = ["warm", "new items", *(f"new users {length}" for length in HISTORIES)]
    rows = []
    for name, one in figures.items():
        cells = [f"{one[p][SOURCES[0]]:.3f} / {one[p][SOURCES[1]]:.3f}" if p in one else None for p in protocols]
        rows.append([name, one.get("dim"), f"{one.get('parameters', 0):,}", one["fit_s"], one["encode_s"], *cells])
    return table(["encoder", "dim", "parameters", "fit or load, s", "encode, s", *protocols], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, and the figures as JSON on request."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding.encoders", description=__doc__)
    parser.add_argument("--small", action="store_true", help="a slice of the data: proves that it runs")
    parser.add_argument("--only", nargs="+", default=["bert", *FITS], help="encoders to measure")
    parser.add_argument("--gpt", default="", help="folder of a decoder in Hugging Face layout, measured as gpt")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    names = [*options.only, *(["gpt"] if options.gpt else [])]
    figures = measure(datasets.movielens(small=options.small), names, options.gpt)
    print(json.dumps(figures, indent=2) if options.json else markdown(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
