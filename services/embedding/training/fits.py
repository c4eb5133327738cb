"""`Trainer` of the encoders that are fitted in one go: bag of words, TF-IDF, word2vec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.embedding.encoders import bow, tfidf, word2vec
from services.embedding.encoders.terms import NothingToLearn as NoTerms
from services.embedding.training.corpus import NothingToLearn
from services.embedding.training.ports import Trained
from services.embedding.training.validation import Judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.embedding.training.corpus import Corpus
    from services.embedding.training.verdict import Verdict
    from shared.telemetry.progress import JobProgress

    BaseVectors = Callable[[Sequence[str]], NDArray[np.float32]]
    """Returns the unit vectors of texts, float32 (texts, dim)."""

FIT, SESSIONS = "fit", "sessions"
"""Label `method` of what was fitted on texts alone, and on what users liked: who measures with it must know."""


@dataclass(frozen=True)
class FitTrainer:
    """Fits one of the kinds on the texts of the catalogue; word2vec also on what users liked one after the other."""

    kind: str
    seed: int
    progress: JobProgress
    sessions: bool = False
    """word2vec: from sessions of item ids in place of the texts."""
    base: BaseVectors | None = None
    """Vectors of texts by what would be served otherwise; None: it is not judged, and not `better`."""

    @property
    def method(self) -> str:
        """See the port."""
        return SESSIONS if self.sessions else FIT

    def train(self, corpus: Corpus, folder: Path) -> Trained:
        """See the port."""
        self.progress.update("fit", 0, 1)
        options: dict[str, Any] = {"seed": self.seed}
        if self.sessions:
            options["sessions"] = [corpus.train.of(user).tolist() for user in range(len(corpus.train.starts) - 1)]
        fit: Callable[..., Any] = {bow.KIND: bow.fit, tfidf.KIND: tfidf.fit, word2vec.KIND: word2vec.fit}[self.kind]
        try:
            model = fit(corpus.texts, **options)
        except NoTerms as error:
            raise NothingToLearn(str(error)) from error
        model.save(folder)
        self.progress.update("fit", 1, 1)
        better, metrics = False, {}
        if self.base is not None:
            verdict = self._verdict(corpus, model, self.base)
            better, metrics = verdict.better, verdict.metrics
        config = {"seed": self.seed, "corpus": "sessions" if self.sessions else "texts"}
        return Trained(better=better, metrics=metrics, config=config, lineage={})

    def _verdict(self, corpus: Corpus, model: Any, base: BaseVectors) -> Verdict:
        judge = Judge(corpus)
        own = model.encode([text.ids for text in model.tokenize(corpus.texts)])
        self.progress.update("judge", 0, 1)
        made = base([corpus.texts[row] for row in judge.needed])
        before = np.zeros((len(corpus.items), made.shape[1]), np.float32)
        before[judge.needed] = made
        self.progress.update("judge", 1, 1)
        return judge.verdict(own, before, self.seed)
