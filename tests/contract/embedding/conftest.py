from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.embedding.bootstrap import make_encoders
from services.embedding.encoders import bow, tfidf, word2vec
from services.embedding.encoders.artifact import MODEL_FOLDER, EncoderDescription, Head, write_description
from services.embedding.settings import EmbeddingSettings
from shared.testing import tiny_decoder, tiny_encoder
from shared.testing.numpy_bert import NumpyBert
from shared.testing.numpy_gpt import NumpyGpt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.embedding.ports import LoadedModel

CATALOGUE = [
    *("a film about love", "the war of space", "a film about war and love", "love war", "q", "space space"),
    *("the film of the space", "in the war", "a love in space", "love of film and war"),
]
SESSIONS = [[0, 2, 9], [0, 9, 2, 3], [1, 4, 6, 8], [8, 6, 1]]
HEAD = Head(np.linspace(-1, 1, 32 * 6, dtype=np.float32).reshape(32, 6), np.linspace(0, 0.5, 6, dtype=np.float32))


@dataclass(frozen=True)
class Case:
    """One kind of encoder: its artifact, the encoder loaded from it, and what its vectors must be."""

    kind: str
    family: str
    folder: Path
    model: LoadedModel
    reference: Callable[[Any], Any]
    dim: int
    max_tokens: int


def bert_artifact(folder, *, family, **options):
    model = tiny_encoder.write_tiny_encoder(folder / MODEL_FOLDER, family, **options)
    write_description(folder, EncoderDescription("bert", max_tokens=256))
    # The positions of the model cap the 256; two rows are reserved in the RoBERTa families.
    limit = tiny_encoder.POSITIONS - (2 if "roberta" in family else 0)
    return "bert", family, NumpyBert(model).encode, tiny_encoder.HIDDEN, limit


def gpt_artifact(folder, *, family, pooling, head=None):
    model = tiny_decoder.write_tiny_decoder(folder / MODEL_FOLDER, family)
    write_description(folder, EncoderDescription("gpt", pooling, 48))
    oracle = NumpyGpt(model)

    def reference(row):
        if head is None:
            return oracle.encode(row, pooling)
        hidden = oracle.hidden(row)
        mapped = (hidden[-1] if pooling == "last" else hidden.mean(axis=0)) @ head.weight + head.bias
        return mapped / np.linalg.norm(mapped)

    if head is not None:
        head.save(folder)
    return "gpt", family, reference, tiny_decoder.HIDDEN if head is None else head.dim, 48


def bert_head_artifact(folder):
    bert_artifact(folder, family="bert")
    oracle = NumpyBert(folder / MODEL_FOLDER)
    # A head without a bias sees directions only: that of the pooled vector is enough.
    head = Head(HEAD.weight)
    head.save(folder)

    def reference(row):
        mapped = oracle.encode(row) @ head.weight
        return mapped / np.linalg.norm(mapped)

    return "bert", "bert", reference, head.dim, tiny_encoder.POSITIONS


def term_artifact(folder, *, fit, **options):
    model = fit(CATALOGUE, min_texts=1, max_tokens=40, **options)
    model.save(folder)

    def reference(row):
        counts = Counter(token - 1 for token in row if token)
        amount = (lambda count: 1 + np.log(count)) if model.log_counts else float
        total = sum(amount(count) * model.weights[term] * model.table[term] for term, count in counts.items())
        length = np.linalg.norm(total)
        return total / length if length else model.neutral

    return model.kind, model.kind, reference, model.dim, 40


VARIANTS = {
    "bert": lambda folder: bert_artifact(folder, family="bert"),
    "bert-bare-headless": lambda folder: bert_artifact(folder, family="bert", prefixed=False, pooler=False),
    "bert-with-head": bert_head_artifact,
    "distilbert": lambda folder: bert_artifact(folder, family="distilbert"),
    "roberta": lambda folder: bert_artifact(folder, family="roberta"),
    "roberta-bare": lambda folder: bert_artifact(folder, family="roberta", prefixed=False),
    "xlm-roberta": lambda folder: bert_artifact(folder, family="xlm-roberta"),
    "gpt2-mean": lambda folder: gpt_artifact(folder, family="gpt2", pooling="mean"),
    "llama-last-with-head": lambda folder: gpt_artifact(folder, family="llama", pooling="last", head=HEAD),
    "bow": lambda folder: term_artifact(folder, fit=bow.fit),
    "bow-projected": lambda folder: term_artifact(folder, fit=bow.fit, dim=7),
    "tfidf": lambda folder: term_artifact(folder, fit=tfidf.fit, dim=5),
    "word2vec-texts": lambda folder: term_artifact(folder, fit=word2vec.fit, dim=8),
    "word2vec-sessions": lambda folder: term_artifact(folder, fit=word2vec.fit, dim=8, sessions=SESSIONS),
}


@pytest.fixture(scope="module")
def encoders():
    """All kinds as the service loads them; one compiled shape, so that both paths run."""
    return make_encoders(EmbeddingSettings(xla_shapes=((4, 8),)))


@pytest.fixture(scope="module", params=VARIANTS)
def case(request, tmp_path_factory, encoders):
    folder = tmp_path_factory.mktemp(request.param)
    kind, family, reference, dim, max_tokens = VARIANTS[request.param](folder)
    model = encoders.load(folder, "version-1", lambda: None)
    return Case(kind, family, folder, model, reference, dim, max_tokens)
