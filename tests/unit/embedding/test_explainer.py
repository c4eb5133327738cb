"""Explaining a similarity by an encoder without a network: every part is exact, and known."""

from __future__ import annotations

import numpy as np
import pytest

from services.embedding.attribution.desk import Desk
from services.embedding.attribution.explainer import Explainer
from services.embedding.attribution.model import Question, WeightedText
from services.embedding.attribution.terms import TermAttributor
from services.embedding.encoders.terms import TermModel
from shared.errors import InvalidField, LimitExceeded

TERMS = ("cat", "dog", "the", "anti")


@pytest.fixture
async def explain():
    """Returns a function that asks; `anti` points against `cat`."""
    table = np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0.1], [-1, 0, 0]], np.float32)
    neutral = np.full(3, 3**-0.5, np.float32)
    model = TermModel("bow", TERMS, np.array([1, 1, 0.2, 1], np.float32), table, neutral, max_tokens=6)
    desk = Desk(0, lambda: None)
    explainer = Explainer(TermAttributor(model), desk, "v1", max_tokens=20)

    async def ask(text, *others, single=False, layers=None):
        return await explainer.explain(Question(text, tuple(WeightedText(*one) for one in others), single, layers))

    yield ask
    desk.close()


def parts(share):
    return {word.word: word.contribution for word in share.words}


async def test_parts_of_a_sum_are_exact(explain):
    answer = await explain("The CAT, the cat!", ("cat dog",))
    # Two cats and two "the" of weight 0.2: (2.2, 0.2, 0.04), against (1, 1, 0) at length 1.
    length, other = np.linalg.norm([2.2, 0.2, 0.04]), 2**-0.5
    assert answer.similarity == pytest.approx(2.4 / length * other, abs=1e-6)
    assert [(word.word, word.start) for word in answer.text.words] == [("The", 0), ("CAT", 4), ("the", 9), ("cat", 13)]
    contributions = [word.contribution for word in answer.text.words]
    np.testing.assert_allclose(contributions, np.array([0.2, 1, 0.2, 1]) / length * other, atol=1e-6)
    assert abs(answer.residual) < 1e-6
    assert (answer.method, answer.version, answer.attention) == ("exact", "v1", ())


async def test_a_profile_is_its_weighted_texts(explain):
    answer = await explain("cat", ("cat", 3.0), ("dog", 4.0))
    assert answer.similarity == pytest.approx(0.6)
    assert [one.contribution for one in answer.others] == pytest.approx([0.6, 0.0], abs=1e-6)
    assert parts(answer.others[0]) == {"cat": pytest.approx(0.6)}
    assert [one.similarity for one in answer.others] == pytest.approx([1.0, 0.0])
    assert abs(answer.other_residual) < 1e-6


async def test_words_against_it_take_away(explain):
    assert parts((await explain("cat dog", ("anti dog",))).text) == {
        "cat": pytest.approx(-0.5),
        "dog": pytest.approx(0.5),
    }


async def test_an_unknown_word_adds_nothing_and_only_unknown_ones_share_what_there_is(explain):
    assert parts((await explain("cat xyz", ("cat",))).text) == {"cat": pytest.approx(1.0), "xyz": 0.0}
    answer = await explain("xyz zyx", ("cat",))
    assert parts(answer.text) == {"xyz": pytest.approx(3**-0.5 / 2), "zyx": pytest.approx(3**-0.5 / 2)}


async def test_letters_that_normalising_moves_keep_their_words(explain):
    answer = await explain("ﬁlm ＣＡＴ", ("cat",))  # noqa: RUF001 (a ligature and wide letters)
    assert parts(answer.text) == {"ﬁlm": 0.0, "ＣＡＴ": pytest.approx(1.0)}  # noqa: RUF001


async def test_what_is_cut_is_said(explain):
    answer = await explain("cat " * 8, ("dog",))
    assert (answer.text.truncated, answer.text.tokens, len(answer.text.words)) == (True, 6, 6)


async def test_refusals(explain):
    with pytest.raises(InvalidField, match="cancel out"):
        await explain("dog", ("cat",), ("anti",))
    with pytest.raises(InvalidField, match="no attention"):
        await explain("dog", ("cat",), layers=(0,))
    with pytest.raises(InvalidField, match=r"others\[1\].text"):
        await explain("dog", ("cat",), ("...",))
    with pytest.raises(LimitExceeded, match="tokens in all"):
        await explain("cat " * 6, *[("cat " * 6,)] * 3)
    # An encoder without attention has none to show, when all layers are asked for.
    assert (await explain("dog", ("cat",), layers=())).attention == ()
