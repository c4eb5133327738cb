"""The fits of the encoders without a network, against what their definitions say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.embedding.encoders import bow, tfidf, word2vec
from services.embedding.encoders.terms import NothingToLearn, terms_of

TEXTS = ["Space war (1977). Action", "Space love (1980). Drama", "War and war again. Action", "A quiet drama", ""]


def encoded(model, *texts):
    return model.encode([text.ids for text in model.tokenize(texts)])


def cosine_of_counts(left, right):
    words = sorted({*terms_of(left), *terms_of(right)})
    a, b = (np.array([terms_of(text).count(word) for word in words], float) for text in (left, right))
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_terms_are_folded_words():
    assert terms_of("The \uff37ar of 1977, Straße_2 don't!") == ["the", "war", "of", "1977", "strasse_2", "don", "t"]


def test_bow_is_the_cosine_of_word_counts():
    model = bow.fit(TEXTS)
    vectors = encoded(model, *TEXTS[:4])
    for row, left in enumerate(TEXTS[:4]):
        for column, right in enumerate(TEXTS[:4]):
            assert vectors[row] @ vectors[column] == pytest.approx(cosine_of_counts(left, right), abs=1e-5)


def test_projected_bow_is_near_the_cosine_of_word_counts():
    random = np.random.default_rng(0)
    texts = [" ".join(f"w{word}" for word in random.integers(0, 3_000, 40)) for _ in range(60)]
    model = bow.fit(texts, dim=512)
    assert model.dim == 512 < len(model.terms)
    vectors = encoded(model, *texts)
    errors = [vectors[0] @ vectors[other] - cosine_of_counts(texts[0], texts[other]) for other in range(1, 60)]
    # 1/sqrt(512) is 0.044.
    assert np.std(errors) < 0.06


def test_tfidf_is_the_projection_on_the_leading_singular_vectors():
    random = np.random.default_rng(1)
    texts = [" ".join(f"w{word}" for word in random.zipf(1.5, 12) if word < 40) for _ in range(80)]
    model = tfidf.fit(texts, dim=6, min_texts=1)
    counts = np.array([[terms_of(text).count(term) for term in model.terms] for text in texts], float)
    found = (counts > 0).sum(axis=0)
    weighted = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * (np.log((1 + 80) / (1 + found)) + 1)
    matrix = weighted[weighted.any(axis=1)]
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    _, _, components = np.linalg.svd(matrix, full_matrices=False)
    expected = weighted @ components[:6].T
    similar = encoded(model, *texts)
    for row in range(0, 80, 7):
        for other in range(0, 80, 11):
            if weighted[row].any() and weighted[other].any():
                unit = [expected[place] / np.linalg.norm(expected[place]) for place in (row, other)]
                assert similar[row] @ similar[other] == pytest.approx(unit[0] @ unit[1], abs=1e-4)


def test_a_small_vocabulary_needs_no_decomposition():
    model = tfidf.fit(TEXTS, dim=256, min_texts=1)
    assert model.dim == len(model.terms)


def test_word2vec_of_sessions_puts_words_of_the_same_company_together():
    # Two kinds of users: those of the items 0 to 19 and those of 20 to 39. No word is in the texts of both; the words
    # of one kind share no text either.
    texts = [f"left{item} only" if item < 20 else f"right{item} only" for item in range(40)]
    random = np.random.default_rng(0)
    sessions = [random.permutation(20)[:8] + 20 * (user % 2) for user in range(200)]
    model = word2vec.fit(texts, sessions=[list(map(int, one)) for one in sessions], dim=16, min_texts=1)
    vectors = encoded(model, *(text.split()[0] for text in texts))
    similarity = vectors @ vectors.T
    same = np.add.outer(np.arange(40) < 20, np.arange(40) < 20) != 1
    assert similarity[same].mean() > similarity[~same].mean() + 0.5


def test_the_same_seed_gives_the_same_vectors():
    one, other, third = (word2vec.fit(TEXTS, dim=8, min_texts=1, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.table, other.table)
    assert not np.array_equal(one.table, third.table)


def test_text_of_unknown_words_has_the_direction_of_the_average_text():
    model = bow.fit(TEXTS)
    (vector,) = encoded(model, "nothing known here")
    mean = encoded(model, *TEXTS[:4]).mean(axis=0)
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_unknown_words_beside_known_ones_add_nothing():
    model = tfidf.fit(TEXTS, min_texts=1)
    known, mixed = encoded(model, "space war", "space unheard war")
    np.testing.assert_array_equal(known, mixed)


def test_log_counts():
    model = tfidf.fit(TEXTS, min_texts=1)
    once, thrice = encoded(model, "war space", "war war war space")
    war, space = model.terms.index("war"), model.terms.index("space")
    expected = (1 + math.log(3)) * once[war] / once[space]
    assert thrice[war] / thrice[space] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("fit", [bow.fit, tfidf.fit, word2vec.fit])
def test_nothing_to_learn_is_said(fit):
    with pytest.raises(NothingToLearn, match="no word occurs in 2 texts"):
        fit(["one", "two", "!!"], min_texts=2)


def test_sessions_without_company_are_refused():
    with pytest.raises(NothingToLearn, match="no session has two items"):
        word2vec.fit(TEXTS, sessions=[[0], [1], []], min_texts=1)


def test_the_vocabulary_is_bounded_and_keeps_the_common_words():
    model = bow.fit(TEXTS, max_terms=3)
    assert model.terms == ("action", "drama", "space")
