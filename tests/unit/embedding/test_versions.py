"""What a version that is dropped owes to the calls that hold it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from services.embedding.adapters.base_model import BaseModel
from services.embedding.attribution.desk import Desk
from services.embedding.attribution.explainer import Explainer
from services.embedding.batching.batcher import Batcher
from services.embedding.batching.job import Priority
from services.embedding.cache.lru import VectorCache
from services.embedding.encoders import bow
from services.embedding.encoders.registry import Encoders
from services.embedding.encoders.term_kind import TermKind
from services.embedding.serving.embedder import Embedder
from services.embedding.versions.keeper import MAX_LOADS, Versions
from services.embedding.versions.served import Served
from services.embedding.versions.source import VersionSource
from shared.artifacts import ArtifactStore
from shared.errors import ModelNotReady, NotFound, Overloaded


class Counting(TermKind):
    """Counts loads, each held up until it may go on."""

    def __init__(self):
        self.loads = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def load(self, folder, description, version, go_on):
        self.loads += 1
        self.may_go_on.wait(10)
        return super().load(folder, description, version, go_on)


def serving(model):
    batcher = Batcher(model.encoder, streams=1, buckets=(16,), batch_texts=8, batch_tokens=64, queue_texts=1000)
    facts = model.encoder.facts
    embedder = Embedder(model.tokenizer, batcher, VectorCache(0), facts, lambda: None)
    explainer = Explainer(model.attributor, Desk(1, lambda: None), facts.version, max_tokens=64)
    return Served(model, batcher, embedder, explainer)


@pytest.fixture
def kind():
    return Counting()


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "artifacts"))


@pytest.fixture
async def versions(tmp_path, kind, store):
    bow.fit(["base words"]).save(tmp_path / "base")
    encoders = Encoders({"bow": kind})
    base = BaseModel(str(tmp_path / "base"), encoders, pooling="mean", max_tokens=256)
    made = Versions(VersionSource(store, base, encoders), serving, max_others=1, go_on=lambda: None)
    yield made
    await made.close()


@pytest.fixture
def publish(tmp_path, store):
    def make(word):
        bow.fit([f"{word} words"]).save(tmp_path / word)
        return store.publish("embedding", tmp_path / word).version

    return make


async def test_before_the_first_one_is_loaded_there_is_a_reason(versions):
    with pytest.raises(ModelNotReady, match="the model is loading"):
        async with versions.using():
            pass


async def test_a_dropped_version_finishes_what_holds_it_and_then_leaves_memory(versions, publish):
    await versions.adopt_base()
    pinned, other = publish("one"), publish("two")
    async with versions.using(pinned) as held:
        async with versions.using(other):
            pass
        assert held.retired
        outcome = await held.embedder.embed(["one words"], Priority.BULK)
        assert outcome.version == pinned
        assert outcome.results[0].found is not None
        table = weakref.ref(held.model.encoder)
        del held, outcome
    async with asyncio.timeout(10):
        while gc.collect() >= 0 and table() is not None:
            await asyncio.sleep(0.01)


async def test_who_asks_for_the_base_while_it_loads_shares_that_load(versions, kind):
    kind.may_go_on.clear()
    starting = asyncio.create_task(versions.adopt_base())
    while not kind.loads:
        await asyncio.sleep(0.01)
    name = versions._source.base_version()

    async def ask():
        async with versions.using(name) as served:
            return served

    asked = [asyncio.create_task(ask()) for _ in range(3)]
    await asyncio.sleep(0.05)
    kind.may_go_on.set()
    await starting
    assert {id(await one) for one in asked} == {id(versions.current)}
    assert kind.loads == 1


async def test_many_that_ask_for_a_version_load_it_once(versions, publish, kind):
    await versions.adopt_base()
    version = publish("one")
    kind.loads = 0

    async def ask():
        async with versions.using(version) as served:
            return served.version

    assert await asyncio.gather(*(ask() for _ in range(20))) == [version] * 20
    assert kind.loads == 1


async def test_the_current_version_answers_while_another_loads(versions, publish, kind):
    await versions.adopt_base()
    kind.may_go_on.clear()
    version = publish("one")

    async def ask(name=""):
        async with versions.using(name) as served:
            outcome = await served.embedder.embed(["base"], Priority.INTERACTIVE)
            return outcome.version

    impatient = asyncio.create_task(ask(version))
    patient = asyncio.create_task(ask(version))
    base = await ask()
    assert base != version
    impatient.cancel()
    kind.may_go_on.set()
    # Loading goes on for the other one.
    assert await patient == version
    assert kind.loads == 2


async def test_adopting_what_is_pinned_loads_nothing(versions, publish, store, kind):
    await versions.adopt_base()
    version = publish("one")
    async with versions.using(version):
        pass
    kind.loads = 0
    await versions.adopt(store.load("embedding", version))
    assert versions.current.version == version
    assert kind.loads == 0


async def test_base_is_found_again_by_its_version(versions, publish, store):
    await versions.adopt_base()
    base = versions.current.version
    for word in ("one", "two", "three"):
        await versions.adopt(store.load("embedding", publish(word)))
    async with versions.using(base) as served:
        assert served.version == base
    with pytest.raises(NotFound):
        async with versions.using("never"):
            pass


async def test_an_unknown_version_is_refused_while_another_loads(versions, publish, kind):
    await versions.adopt_base()
    kind.may_go_on.clear()

    async def ask(name):
        async with versions.using(name) as served:
            return served.version

    version = publish("one")
    loading = asyncio.create_task(ask(version))
    while kind.loads < 2:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        with pytest.raises(NotFound, match="GetModelInfo"):
            await ask("20260101T000000000000-00000000")
    kind.may_go_on.set()
    assert await loading == version


async def test_versions_that_wait_to_be_loaded_are_bounded(versions, publish, kind):
    await versions.adopt_base()
    names = [publish(f"word{number}") for number in range(MAX_LOADS + 1)]
    kind.may_go_on.clear()

    async def ask(name):
        async with versions.using(name) as served:
            return served.version

    asked = [asyncio.create_task(ask(name)) for name in names]
    # One cannot wait with the others, and hears so before any is loaded.
    done, _ = await asyncio.wait(asked, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    (refused,) = done
    with pytest.raises(Overloaded, match=f"{MAX_LOADS} other versions"):
        await refused
    kind.may_go_on.set()
    answers = await asyncio.gather(*(one for one in asked if one is not refused))
    assert set(answers) < set(names)
    assert len(answers) == MAX_LOADS
