from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.embedding.attribution.words import words_of


def surfaces(text, spans):
    return [word.surface for word in words_of(text, spans)]


@pytest.mark.parametrize(
    ("text", "spans", "words"),
    [
        ("the cat", [None, (0, 3), (4, 7), None], ["the", "cat"]),
        # Pieces of a word are one word.
        ("spaceman", [None, (0, 5), (5, 8), None], ["spaceman"]),
        ("don't sci-fi", [(0, 3), (3, 4), (4, 5), (6, 9), (9, 10), (10, 12)], ["don't", "sci-fi"]),
        ("Heat (1995).", [(0, 4), (5, 6), (6, 10), (10, 11), (11, 12)], ["Heat", "(", "1995", ")", "."]),
        # A token over several words makes them one.
        ("(1995).", [(0, 1), (1, 5), (5, 7)], ["(", "1995", ")."]),
        # Some tokenizers count the space before a word in.
        ("the cat", [(0, 3), (3, 7)], ["the", "cat"]),
        ("电影 😀", [(0, 1), (1, 2), (3, 4), (3, 4), (3, 4)], ["电", "影", "😀"]),
        # What was cut is not among the words.
        ("one two three", [(0, 3), (4, 7)], ["one", "two"]),
        ("re- dash", [(0, 2), (2, 3), (4, 8)], ["re", "-", "dash"]),
        ("a\x07b\u200b", [(0, 1), (2, 3)], ["a", "b"]),
        ("", [None, None], []),
    ],
)
def test_words_are_those_of_the_text(text, spans, words):
    assert surfaces(text, spans) == words


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40), st.data())
def test_every_token_is_in_exactly_one_word_and_every_word_stands_in_the_text(text, data):
    places = st.integers(0, len(text))
    spans = data.draw(st.lists(st.none() | st.tuples(places, places).map(sorted).map(tuple), max_size=12))
    words = words_of(text, spans)
    owned = [token for word in words for token in word.tokens]
    assert sorted(owned) == [index for index, span in enumerate(spans) if span is not None]
    assert all(text[word.start : word.start + len(word.surface)] == word.surface for word in words)
    assert [word.start for word in words] == sorted(word.start for word in words)
