"""How the training job gets the catalogue's vectors."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from services.candidates.sources.aligned_text import masked_rows
from services.candidates.sources.hyperparameters import TextParameters
from services.candidates.training.embedding import CALLS_UNDER_WAY, STEP, embed_items, titles_needed
from shared.data.nouns import Item
from shared.errors import DependencyUnavailable, ModelMismatch, ModelNotReady
from shared.testing.hashing_embedder import HashingEmbedder


def catalogue(count):
    return [Item(f"i{row}", f"word{row} tale", categories=(f"kind{row % 3}",)) for row in range(count)]


class SlowEmbedder(HashingEmbedder):
    """Answers every other call sooner than the one before it; keeps count of the calls under way."""

    def __init__(self):
        super().__init__(dim=8)
        self.calls = self.under_way = self.most = self.cancelled = 0
        self.fails_at = None
        self.delays = (0.0, 0.01)

    async def embed(self, texts, *, urgent, version=""):
        self.calls += 1
        number = self.calls
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.delays[number % 2])
            if number == self.fails_at:
                raise DependencyUnavailable("embedding", "gone")
            return await super().embed(texts, urgent=urgent, version=version)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1


class ChangingEmbedder(HashingEmbedder):
    async def embed(self, texts, *, urgent, version=""):
        del version  # as a service that does not know of versions
        self.version += "+"
        return await super().embed(texts, urgent=urgent)


def nobody(done, total):
    del done, total


async def test_two_calls_are_under_way_and_the_order_stays():
    items = catalogue(4 * STEP + 7)
    embedder, told = SlowEmbedder(), []
    none = np.zeros(len(items), bool)
    texts, version = await embed_items(items, none, embedder, lambda *state: told.append(state))
    assert embedder.most == CALLS_UNDER_WAY
    assert embedder.calls == 5
    assert told[0] == (0, len(items))
    assert told[-1] == (len(items), len(items))
    assert version == embedder.version
    one_by_one = HashingEmbedder(dim=8)
    for row in (0, STEP - 1, STEP, 2 * STEP + 3, len(items) - 1):
        expected = (await one_by_one.embed([f"word{row} tale. kind{row % 3}"], urgent=False)).vectors[0]
        np.testing.assert_allclose(texts.full[row], expected, atol=1e-3)


async def test_titles_alone_only_where_they_are_wanted():
    items = [*catalogue(6), None]
    embedder = HashingEmbedder(dim=8)
    wanted = np.array([True, False, True, False, False, False, True])
    texts, _ = await embed_items(items, wanted, embedder, nobody)
    assert embedder.texts == 6 + 2
    assert (~np.isnan(texts.title[:, 0])).tolist() == [True, False, True, False, False, False, False]
    assert (~np.isnan(texts.full[:, 0])).tolist() == [True] * 6 + [False]


async def test_a_text_that_stands_twice_is_embedded_once():
    items = [Item("a", "same"), Item("b", "same")]
    embedder = HashingEmbedder(dim=8)
    texts, _ = await embed_items(items, np.ones(2, bool), embedder, nobody)
    assert embedder.texts == 1
    np.testing.assert_array_equal(texts.full, texts.title)


async def test_a_catalogue_without_texts_has_vectors_of_nothing():
    texts, version = await embed_items([Item("a"), None], np.ones(2, bool), HashingEmbedder(dim=8), nobody)
    assert texts.full.shape == (2, 8)
    assert np.isnan(texts.full).all()
    assert version == "hashing-1"


async def test_a_failure_ends_the_other_calls():
    embedder = SlowEmbedder()
    embedder.fails_at = 1
    embedder.delays = (60.0, 0.0)
    items = catalogue(5 * STEP)
    with pytest.raises(DependencyUnavailable):
        await embed_items(items, np.zeros(len(items), bool), embedder, nobody, embedder.version)
    assert embedder.under_way == 0
    assert embedder.cancelled == 1
    assert embedder.calls == CALLS_UNDER_WAY


class WarmingEmbedder(HashingEmbedder):
    """Has no model at first."""

    left = 3

    async def embed(self, texts, *, urgent, version=""):
        self.left -= 1
        if self.left >= 0:
            raise ModelNotReady("loading")
        return await super().embed(texts, urgent=urgent, version=version)


async def test_a_model_that_is_being_loaded_is_waited_for(monkeypatch):
    monkeypatch.setattr("services.candidates.training.embedding.WARM_UP_POLL_S", 0.0)
    embedder = WarmingEmbedder(dim=8)
    texts, _ = await embed_items(catalogue(3), np.zeros(3, bool), embedder, nobody)
    assert embedder.left < 0
    assert not np.isnan(texts.full).any()


async def test_a_model_that_never_comes_is_told(monkeypatch):
    monkeypatch.setattr("services.candidates.training.embedding.WARM_UP_S", 0.0)
    with pytest.raises(ModelNotReady):
        await embed_items(catalogue(3), np.zeros(3, bool), WarmingEmbedder(dim=8), nobody)


async def test_a_model_that_changes_meanwhile_is_refused():
    items = catalogue(2 * STEP)
    with pytest.raises(ModelMismatch, match="train again"):
        await embed_items(items, np.zeros(len(items), bool), ChangingEmbedder(dim=8), nobody)


class SwappingEmbedder(HashingEmbedder):
    """Swaps to another version after each answer, and keeps the ones before it."""

    asked = ()

    async def embed(self, texts, *, urgent, version=""):
        self.asked = (*self.asked, version)
        current, self.version = self.version, version or self.version
        try:
            return await super().embed(texts, urgent=urgent, version=version)
        finally:
            self.version = current + "+"


async def test_a_swap_meanwhile_does_not_disturb():
    items = catalogue(3 * STEP)
    embedder = SwappingEmbedder(dim=8)
    _, version = await embed_items(items, np.zeros(len(items), bool), embedder, nobody)
    assert version == "hashing-1"
    assert embedder.asked == ("", "hashing-1", "hashing-1")


async def test_the_version_of_the_settings_is_asked_for():
    embedder = SwappingEmbedder(dim=8)
    _, version = await embed_items(catalogue(3), np.zeros(3, bool), embedder, nobody, "hashing-0")
    assert version == "hashing-0"
    assert embedder.asked == ("hashing-0",)


def test_titles_are_needed_of_the_most_liked_and_of_items_that_lack_attributes():
    items = [*catalogue(6), Item("bare", "title only")]
    parameters = TextParameters(masked_items=2)
    likes = [np.array([0, 5, 0, 4, 3, 0, 0]), np.array([0, 0, 0, 0, 9, 0, 0])]
    assert np.flatnonzero(titles_needed(items * 3, [np.tile(one, 3) for one in likes], parameters)).tolist() == [
        1,
        4,
        6,
        8,
        11,
        13,
        20,
    ]


def test_the_most_liked_are_masked_ties_by_row_and_none_without_likes():
    likes = np.array([2, 0, 7, 2, 2])
    assert masked_rows(likes, TextParameters(masked_items=3)).tolist() == [0, 2, 3]
    assert masked_rows(likes, TextParameters(masked_items=50)).tolist() == [0, 2, 3, 4]
    assert masked_rows(likes, TextParameters(masked_items=0)).tolist() == []
