"""What every implementation of the ports Encoder and Tokenizer keeps, on every served kind of artifact."""

from __future__ import annotations

import numpy as np
import pytest

from services.embedding.encoders.artifact import EncoderDescription
from shared.errors import ShuttingDown
from shared.testing.numpy_gpt import NumpyGpt
from shared.testing.tiny_decoder import write_tiny_decoder
from shared.testing.tiny_encoder import HEADS, LAYERS

TEXTS = ["a film about love", "war", "the war of space and a film in the space about love and love", "q", "love war"]


def rows_of(model, texts):
    return [text.ids for text in model.tokenizer.tokenize(texts)]


def test_vectors_are_those_of_the_reference(case):
    rows = rows_of(case.model, TEXTS)
    vectors = case.model.encoder.encode(rows)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), case.dim)
    for vector, row in zip(vectors, rows, strict=True):
        assert vector @ case.reference(row) >= 0.9999
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_batch_gives_what_single_texts_give(case):
    rows = rows_of(case.model, ["a film about love", "the war of space", "love and war", "a love"])
    compiled = case.model.encoder.encode(rows)
    singles = np.concatenate([case.model.encoder.encode([row]) for row in rows])
    np.testing.assert_allclose(compiled, singles, atol=1e-5)


def test_texts_of_very_different_lengths_share_a_batch(case):
    words = ["love", "a", "war", "space", "q", "the", "film", "of"]
    texts = [" ".join(words[(n + i) % 8] for i in range(1 + 7 * n % 41)) for n in range(30)]
    rows = rows_of(case.model, texts)
    vectors = case.model.encoder.encode(rows)
    np.testing.assert_allclose(vectors, np.concatenate([case.model.encoder.encode([row]) for row in rows]), atol=1e-5)
    # KerasHub's layers approximate GELU; the fused graph computes it.
    atol = 1e-5 if case.model.encoder.facts.packs else 1e-3
    for vector, row in list(zip(vectors, rows, strict=True))[::7]:
        np.testing.assert_allclose(vector, case.reference(row), atol=atol)


def test_the_bert_families_run_fused_and_packed(case):
    assert case.model.encoder.facts.packs == (case.kind == "bert")


def test_facts(case):
    facts = case.model.encoder.facts
    assert (facts.version, facts.kind, facts.family) == ("version-1", case.kind, case.family)
    assert (facts.dim, facts.max_tokens) == (case.dim, case.max_tokens)
    assert facts.parameters >= case.dim
    assert len(facts.weights_sha256) == 64


def test_longest_text_is_cut_at_the_limit(case):
    (text,) = case.model.tokenizer.tokenize(["love " * 500])
    assert len(text.ids) == case.max_tokens
    assert text.truncated
    assert np.isfinite(case.model.encoder.encode([text.ids])).all()


def test_warm_accepts_a_sound_model(case):
    calls = []
    case.model.encoder.warm(lambda: calls.append(1))
    assert calls


def test_warm_ends_where_it_is_told_to(case):
    calls = []

    def go_on():
        calls.append(1)
        raise ShuttingDown("stop")

    with pytest.raises(ShuttingDown):
        case.model.encoder.warm(go_on)
    assert calls


def test_tokenizer_counts_unknown_and_content(case):
    known, mixed, nothing = case.model.tokenizer.tokenize(["love war", "love 爱", "\u200b"])
    assert (known.content, known.unknown, known.truncated) == (2, 0, False)
    assert (mixed.content, mixed.unknown_share) == (2, 0.5)
    assert (nothing.content, nothing.unknown_share) == (0, 0.0)


def test_a_text_of_unknown_words_has_a_vector_all_the_same(case):
    (text,) = case.model.tokenizer.tokenize(["爱 愛"])
    assert text.unknown_share == 1
    assert np.linalg.norm(case.model.encoder.encode([text.ids])) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("family", "pooling"),
    [
        ("gpt2", "last"),
        ("mistral", "mean"),
        ("qwen2", "last"),
        ("qwen3", "last"),
        ("smollm3", "mean"),
        ("gemma", "mean"),
    ],
)
def test_decoders_of_the_other_families(tmp_path, encoders, family, pooling):
    folder = write_tiny_decoder(tmp_path / family, family)
    model = encoders.load(folder, "v", lambda: None, EncoderDescription("gpt", pooling, 20))
    oracle = NumpyGpt(folder)
    rows = rows_of(model, TEXTS)
    for vector, row in zip(model.encoder.encode(rows), rows, strict=True):
        assert vector @ oracle.encode(row, pooling) >= 0.9999


def test_attributor_speaks_of_the_same_vectors(case):
    model = case.model
    attributor = model.attributor
    texts = [attributor.read(text) for text in TEXTS]
    assert [text.ids for text in texts] == rows_of(model, TEXTS)
    vectors = model.encoder.encode(rows_of(model, TEXTS))
    np.testing.assert_allclose([attributor.vector(text) for text in texts], vectors, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        # The direction of another text, and of no text at all.
        for direction in (vectors[0], np.eye(case.dim, dtype=np.float32)[3]):
            shares = attributor.shares(text, direction, lambda: None)
            product = float(vector @ direction)
            assert shares.values.shape == (len(text.ids),)
            assert shares.values.sum() == pytest.approx(product, abs=max(0.02 * abs(product), 2e-4))
            assert all(value == 0 for value, span in zip(shares.values, text.spans, strict=True) if span is None)


def test_attributor_ends_where_it_is_told_to(case):
    attributor = case.model.attributor

    def go_on():
        raise ShuttingDown("stop")

    text = attributor.read("a film")
    with pytest.raises(ShuttingDown):
        attributor.shares(text, attributor.vector(text), go_on)


def test_attention_is_that_of_every_layer_and_head(case):
    attributor = case.model.attributor
    text = attributor.read("a film about love")
    if case.kind != "bert":
        assert attributor.layers == 0
        return
    maps = attributor.attention(text)
    assert maps.shape == (attributor.layers, attributor.heads, 6, 6) == (LAYERS, HEADS, 6, 6)
    np.testing.assert_allclose(maps.sum(axis=-1), 1.0, atol=1e-5)
