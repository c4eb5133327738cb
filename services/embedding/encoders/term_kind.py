"""The kinds bow, tfidf and word2vec as the service sees them: one way to load, one tokenizer, one encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from services.embedding.attribution.terms import TermAttributor
from services.embedding.encoders import bow, terms, tfidf, word2vec
from services.embedding.encoders.model import ModelFacts, ModelUnusable
from services.embedding.ports import LoadedModel
from shared.artifacts.manifest import hash_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.embedding.encoders.artifact import EncoderDescription
    from services.embedding.encoders.terms import TermModel

NAMES: Final = (bow.KIND, tfidf.KIND, word2vec.KIND)
_TOLERANCE = 1e-3


class TermEncoder:
    """`Encoder` port on a fitted model. Each row is a few additions: nothing is compiled."""

    def __init__(self, model: TermModel, facts: ModelFacts) -> None:
        self._model = model
        self.facts = facts

    def encode(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """See the port."""
        return self._model.encode(rows)

    def warm(self, go_on: Callable[[], None]) -> None:
        """See the port."""
        go_on()
        vectors = self.encode([[terms.UNKNOWN], [1], list(range(1, min(len(self._model.terms), 64) + 1))])
        if not bool(np.all(np.abs(np.linalg.norm(vectors, axis=1) - 1.0) < _TOLERANCE)):
            raise ModelUnusable("the encoder makes no unit vectors: its tables are damaged")


class TermKind:
    """`EncoderKind` of the three."""

    def load(
        self, folder: Path, description: EncoderDescription, version: str, go_on: Callable[[], None]
    ) -> LoadedModel:
        """See the port."""
        go_on()
        model = terms.load(folder, description)
        facts = ModelFacts(
            version=version,
            kind=model.kind,
            family=model.kind,
            dim=model.dim,
            max_tokens=model.limit,
            parameters=model.table.size + model.weights.size,
            weights_sha256=hash_file(folder / terms.TENSORS_FILE),
            engine=f"numpy {np.__version__}",
            pooling=description.pooling,
        )
        # Made here, not by the first call.
        _ = model.numbers
        return LoadedModel(model, TermEncoder(model, facts), TermAttributor(model))
