"""What every implementation of the ports Encoder and Tokenizer keeps, on every served kind of folder."""

from __future__ import annotations

import numpy as np
import pytest

from shared.errors import ShuttingDown
from shared.testing.numpy_bert import NumpyBert
from shared.testing.tiny_encoder import HIDDEN, POSITIONS

TEXTS = ["a film about love", "war", "the war of space and a film in the space about love and love", "q", "love war"]


def rows_of(model, texts):
    return [text.ids for text in model.tokenizer.tokenize(texts)]


def test_vectors_are_those_of_the_reference(tiny):
    folder, _, model = tiny
    reference = NumpyBert(folder)
    rows = rows_of(model, TEXTS)
    vectors = model.encoder.encode(rows)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), HIDDEN)
    for vector, row in zip(vectors, rows, strict=True):
        assert vector @ reference.encode(row) >= 0.9999


def test_compiled_shape_and_graph_agree(tiny):
    _, _, model = tiny
    rows = rows_of(model, ["a film about love", "the war of space", "love and war", "a love"])
    compiled = model.encoder.encode(rows)
    singles = np.concatenate([model.encoder.encode([row]) for row in rows])
    np.testing.assert_allclose(compiled, singles, atol=1e-5)


def test_facts(tiny):
    _, family, model = tiny
    facts = model.encoder.facts
    assert facts.family == family
    assert facts.dim == HIDDEN
    # The positions of the model cap the setting of 256; two rows are reserved in the RoBERTa families.
    assert facts.max_tokens == (POSITIONS - 2 if "roberta" in family else POSITIONS)
    assert facts.parameters > 10_000
    assert len(facts.version) == 12


def test_longest_text_fits_the_positions(tiny):
    _, _, model = tiny
    (text,) = model.tokenizer.tokenize(["love " * 500])
    assert len(text.ids) == model.encoder.facts.max_tokens
    assert text.truncated
    assert np.isfinite(model.encoder.encode([text.ids])).all()


def test_warm_accepts_a_sound_model(tiny):
    calls = []
    tiny[2].encoder.warm(lambda: calls.append(1))
    assert calls


def test_warm_ends_where_it_is_told_to(tiny):
    calls = []

    def go_on():
        calls.append(1)
        raise ShuttingDown("stop")

    with pytest.raises(ShuttingDown):
        tiny[2].encoder.warm(go_on)
    assert calls


def test_tokenizer_counts_unknown_and_content(tiny):
    known, mixed, nothing = tiny[2].tokenizer.tokenize(["love war", "love 爱", "\u200b"])
    assert (known.content, known.unknown, known.truncated) == (2, 0, False)
    assert (mixed.content, mixed.unknown_share) == (2, 0.5)
    assert (nothing.content, nothing.unknown_share) == (0, 0.0)
