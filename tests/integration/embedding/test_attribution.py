"""Which words make two texts similar, said by the served real model."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
from fusionrec.embedding.v1 import embedding_service_pb2 as pb

from shared.rpc.status import error_info

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAIRS = [
    ("Toy Story (1995). Adventure, Animation, Children, Comedy", "A cowboy doll is jealous of a new toy spaceman"),
    ("a film about space travel", "a movie on astronauts"),
    ("the cat sat on the mat", "a cat is sleeping on the rug"),
    ("Heat (1995). Action, Crime, Thriller", "a detective hunts bank robbers in Los Angeles"),
    ("I loved this romantic comedy, it is funny and warm", "Notting Hill (1999). Comedy, Romance"),
    ("a cooking recipe for pasta", "a film about space travel"),
    ("The movie was not good at all", "The movie was very good"),
    ("Alien (1979). Horror, Sci-Fi", "Aliens (1986). Action, Adventure, Horror, Sci-Fi"),
    ("Star Wars: Episode IV - A New Hope (1977)", "Star Trek: First Contact (1996)"),
    ("war", "peace"),
    ("love", "Se7en"),
    ("How to train your dragon", "a school for young vikings"),
    ("The Godfather (1972). Crime, Drama", "Goodfellas (1990). Crime, Drama"),
    ("电影 很 好看 😀", "a good film"),
    ("I do not like it", "pasta with tomatoes"),
    ("a", "the"),
    ("jazz, blues and soul", "heavy metal"),
    ("Dogs!!! And cats???", "animals"),
    ("Amélie of Montmartre", "a waitress in Paris changes the lives around her"),
    ("HORROR HORROR HORROR", "a quiet documentary on birds"),
]


async def attribute(stub, text, other="", **options):
    return await stub.Attribute(pb.AttributeRequest(text=text, other=other, **options), timeout=240)


async def vectors(stub, texts):
    found = await stub.Embed(pb.EmbedRequest(texts=texts), timeout=120)
    return np.stack([np.frombuffer(one.vector.data, "<f4") for one in found.embeddings])


def parts(words):
    return {word.word: word.contribution for word in words}


def total(words):
    return sum(word.contribution for word in words)


async def test_the_words_of_each_side_sum_to_the_similarity_of_the_served_vectors(stub):
    served = await vectors(stub, [text for pair in PAIRS for text in pair])
    for number, (text, other) in enumerate(PAIRS):
        answer = await attribute(stub, text, other)
        similarity = float(served[2 * number] @ served[2 * number + 1])
        assert answer.similarity == pytest.approx(similarity, abs=1e-4)
        # Within 2 % of the similarity; a floor where that is less than what float32 can tell.
        allowed = max(0.02 * abs(similarity), 2e-4)
        assert abs(total(answer.words) - similarity) <= allowed, (text, other)
        assert abs(total(answer.other_words) - similarity) <= allowed, (text, other)
        assert answer.residual == pytest.approx(answer.similarity - total(answer.words), abs=1e-5)
        for side, whole in ((answer.words, text), (answer.other_words, other)):
            assert all(whole[word.start : word.start + len(word.word)] == word.word for word in side)
            assert "".join(word.word for word in side) == "".join(whole.split())


async def test_exchanging_the_texts_exchanges_the_words(stub):
    there = await attribute(stub, "the cat sat on the mat", "a dog sleeps")
    back = await attribute(stub, "a dog sleeps", "the cat sat on the mat")
    assert [word.word for word in there.words] == [word.word for word in back.other_words]
    for one, other in ((there.words, back.other_words), (there.other_words, back.words)):
        np.testing.assert_allclose([w.contribution for w in one], [w.contribution for w in other], atol=1e-5)


async def test_a_text_is_all_of_itself(stub):
    answer = await attribute(stub, "Heat (1995). Action, Crime", "Heat (1995). Action, Crime")
    assert answer.similarity == pytest.approx(1.0, abs=1e-5)
    assert total(answer.words) == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(
        [w.contribution for w in answer.words], [w.contribution for w in answer.other_words], atol=1e-5
    )


@pytest.mark.parametrize(
    ("text", "other", "word", "lesser"),
    [
        ("the cat sat on the mat", "a cat is sleeping", "cat", ("the", "on")),
        ("a crime of passion", "crime and punishment", "crime", ("a", "of")),
        ("a film about space", "the space shuttle", "space", ("a", "about")),
    ],
)
async def test_a_shared_word_adds_more_than_a_stop_word(stub, text, other, word, lesser):
    found = parts((await attribute(stub, text, other)).words)
    assert found[word] > 1.5 * max(found[one] for one in lesser)


async def test_a_profile_sums_over_its_texts_by_weight(stub):
    texts, weights = ["Aliens (1986). Horror, Sci-Fi", "Notting Hill. Romance", "Blade Runner"], [1.0, 0.5, 0.0]
    others = [pb.WeightedText(text=text, weight=weight) for text, weight in zip(texts, weights, strict=True)]
    answer = await attribute(stub, "Alien (1979). Horror", others=others)
    u, *served = await vectors(stub, ["Alien (1979). Horror", *texts])
    # A weight of 0 means 1.
    profile = np.array([1.0, 0.5, 1.0]) @ np.stack(served)
    assert answer.similarity == pytest.approx(float(u @ profile) / np.linalg.norm(profile), abs=1e-4)
    assert not answer.other_words
    np.testing.assert_allclose([one.similarity for one in answer.others], np.stack(served) @ u, atol=1e-4)
    assert sum(one.contribution for one in answer.others) == pytest.approx(answer.similarity, abs=1e-5)
    for one in answer.others:
        assert total(one.words) == pytest.approx(one.contribution, abs=max(0.02 * abs(one.contribution), 2e-4))
    assert abs(answer.residual) <= 0.02 * answer.similarity
    assert abs(answer.other_residual) <= 0.02 * answer.similarity


async def test_attention_rows_sum_to_one(stub):
    answer = await attribute(stub, "the spaceman sat", "a doll", attention=True)
    assert len(answer.tokens) == answer.text_tokens == len(answer.attention[0].weights) ** 0.5
    assert answer.tokens[0] == "[CLS]"
    assert [(one.layer, one.head) for one in answer.attention] == [(n, m) for n in range(6) for m in range(12)]
    weights = np.array([one.weights for one in answer.attention]).reshape(72, len(answer.tokens), -1)
    np.testing.assert_allclose(weights.sum(axis=2), 1.0, atol=1e-5)
    some = await attribute(stub, "the spaceman sat", "a doll", attention_layers=[4])
    assert {one.layer for one in some.attention} == {4}
    np.testing.assert_allclose(some.attention[3].weights, answer.attention[4 * 12 + 3].weights, atol=1e-6)


async def test_long_texts_are_cut_and_say_so_and_their_attention_is_bounded(stub):
    long = "the spaceman flew home " * 100
    answer = await attribute(stub, long, "a doll")
    assert (answer.truncated, answer.text_tokens) == (True, 256)
    # Four words of five tokens each.
    assert len(answer.words) == 203
    assert abs(answer.residual) <= max(0.02 * abs(answer.similarity), 2e-4)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await attribute(stub, long, "a doll", attention=True)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "ask for 3 layers at most" in error_info(refused.value).metadata["hint"]
    three = await attribute(stub, long, "a doll", attention_layers=[0, 1, 2])
    assert len(three.attention) == 36


async def test_reply_says_who_made_it_and_how(stub):
    info = await stub.GetModelInfo(pb.GetModelInfoRequest())
    answer = await attribute(stub, "a", "b")
    assert [(model.kind, model.version) for model in answer.served_by.models] == [("embedding", info.version)]
    assert (answer.method, answer.evaluations > 0) == ("integrated gradients", True)


async def test_more_callers_than_the_desk_has_room_for(stub, settings):
    calls = [
        asyncio.create_task(attribute(stub, f"a film {n}", "a movie")) for n in range(settings.attribute_queue + 6)
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    refused = [one for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
    answered = [one for one in outcomes if isinstance(one, pb.AttributeResponse)]
    assert refused
    assert len(answered) >= settings.attribute_queue + 1
    assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert error_info(refused[0]).reason == "OVERLOADED"
    with pytest.raises(grpc.aio.AioRpcError) as expired:
        await stub.Attribute(pb.AttributeRequest(text="spaceman " * 200, other="a " * 200), timeout=0.05)
    assert expired.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await attribute(stub, "after", "the rush")).words
