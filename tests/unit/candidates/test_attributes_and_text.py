from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import numpy as np
import pytest

from services.candidates.sources.aligned_text import ItemTexts, TextMap
from services.candidates.sources.attributes import AttributeEncoder
from services.candidates.sources.hyperparameters import TextParameters
from shared.data.nouns import Item
from shared.data.texts import item_text, item_title
from shared.testing.hashing_embedder import HashingEmbedder

PARAMETERS = TextParameters()


def shop():
    return [
        Item(
            f"s{row}",
            f"{('lamp', 'chair', 'rug')[row % 3]} model {row}",
            categories=(("light", "seat", "floor")[row % 3],),
            attributes={
                "price": float(10 + 20 * (row % 3) + row % 5),
                "colour": ("red", "blue")[row % 2],
                "since": datetime(2000 + row % 20, 1, 1, tzinfo=UTC),
            },
        )
        for row in range(90)
    ]


def embedded(items):
    embedder = HashingEmbedder(24)

    def vectors(texts):
        return asyncio.run(embedder.embed(texts, urgent=False)).vectors

    return ItemTexts(vectors([item_text(item) for item in items]), vectors([item_title(item) for item in items]))


def test_words_and_numbers_of_any_name_become_features():
    encoder = AttributeEncoder.fit(shop(), PARAMETERS)
    assert set(encoder.words) == {"light", "seat", "floor", "colour=red", "colour=blue"}
    assert {number.name for number in encoder.numbers} == {"price", "since"}
    features = encoder.encode(shop())
    assert features.shape == (90, encoder.width)
    # The hats of one number add up to 1: linear interpolation.
    np.testing.assert_allclose(features[:, len(encoder.words) :].sum(axis=1), 2.0, rtol=1e-5)


def test_hats_interpolate_and_end_at_the_outer_knots():
    encoder = AttributeEncoder.fit([Item(str(v), attributes={"x": float(v)}) for v in range(101)], PARAMETERS)
    (number,) = encoder.numbers
    values = np.array([-50.0, 0.0, 33.0, 61.7, 100.0, 900.0, np.nan])
    hats = number.encode(values)
    np.testing.assert_allclose(hats[:-1] @ number.knots, np.clip(values[:-1], 0, 100), rtol=1e-5)
    assert not hats[-1].any()


def test_missing_is_the_share_of_kinds_that_an_item_lacks():
    encoder = AttributeEncoder.fit(shop(), PARAMETERS)
    given = [
        shop()[0],
        Item("a", categories=("light",)),
        Item("b", attributes={"price": 3.0}),
        Item("c", "title only", categories=("never seen",)),
    ]
    np.testing.assert_allclose(encoder.missing(encoder.encode(given)), [0, 0.5, 0.75, 1])


def test_a_catalogue_without_attributes_lacks_nothing():
    bare = [Item(str(number), f"title {number}") for number in range(20)]
    encoder = AttributeEncoder.fit(bare, PARAMETERS)
    assert encoder.width == 0
    assert not encoder.missing(encoder.encode(bare)).any()


def test_the_encoder_survives_json():
    encoder = AttributeEncoder.fit(shop(), PARAMETERS)
    again = AttributeEncoder.from_json(encoder.to_json())
    np.testing.assert_array_equal(again.encode(shop()), encoder.encode(shop()))


@pytest.fixture
def text_map():
    items = shop()
    factors = np.eye(3, dtype=np.float32)[np.arange(90) % 3]
    likes = np.where(np.arange(90) < 75, 5, 0)
    return TextMap.fit(items, embedded(items), factors, likes, PARAMETERS)


def nearest(mapped):
    return np.argmax(mapped, axis=1).tolist()


def test_items_without_likes_land_among_their_kind(text_map):
    items = shop()[75:]
    mapped = text_map.map(items, embedded(items))
    assert nearest(mapped) == [row % 3 for row in range(75, 90)]


def test_a_title_alone_is_enough(text_map):
    items = [Item("x", "chair of oak"), Item("y", "rug from afar")]
    mapped = text_map.map(items, embedded(items))
    assert nearest(mapped) == [1, 2]
    np.testing.assert_allclose(text_map.map_text(embedded(items).title), mapped, atol=1e-5)


def test_attributes_alone_are_enough_and_nothing_is_nothing(text_map):
    nothing = np.full((3, 24), np.nan, np.float32)
    items = [Item("x", categories=("floor",)), Item("y", "chair", attributes={"price": 31.0}), Item("z", "chair")]
    mapped = text_map.map(items, ItemTexts(nothing, nothing))
    assert nearest(mapped[:2]) == [2, 1]
    assert np.isnan(mapped[2]).all()


def test_a_map_trained_on_no_text_at_all_still_maps_attributes():
    items = shop()
    nothing = np.full((90, 24), np.nan, np.float32)
    factors = np.eye(3, dtype=np.float32)[np.arange(90) % 3]
    made = TextMap.fit(items, ItemTexts(nothing, nothing), factors, np.full(90, 2), PARAMETERS)
    assert nearest(made.map(items, ItemTexts(nothing, nothing))) == [row % 3 for row in range(90)]
    assert made.map_text(embedded(items).title).shape == (90, 3)


def test_only_the_most_liked_speak_for_their_neighbours():
    items, likes = shop(), np.arange(90)
    factors = np.eye(3, dtype=np.float32)[np.arange(90) % 3]
    texts = embedded(items)
    made = TextMap.fit(items, texts, factors, likes, TextParameters(masked_items=12))
    np.testing.assert_array_equal(made.neighbour_titles, texts.title[78:])
    # What they do not need is not read.
    texts.title[:78] = np.nan
    again = TextMap.fit(items, texts, factors, likes, TextParameters(masked_items=12))
    np.testing.assert_array_equal(again.weights, made.weights)
    assert nearest(again.map([Item("x", "chair of oak")], embedded([Item("x", "chair of oak")]))) == [1]


def test_a_map_without_masked_items_reads_no_titles():
    items = shop()
    texts = embedded(items)
    texts.title[:] = np.nan
    factors = np.eye(3, dtype=np.float32)[np.arange(90) % 3]
    made = TextMap.fit(items, texts, factors, np.full(90, 2), TextParameters(masked_items=0))
    assert nearest(made.map(items, texts)) == [row % 3 for row in range(90)]
    assert not np.isnan(made.map_text(embedded(items).title)).any()


@pytest.mark.parametrize(
    ("item", "text", "title"),
    [
        (
            Item("1", "Heat", categories=("Crime", "Drama"), attributes={"year": 1995.0}),
            "Heat (1995). Crime, Drama",
            "Heat",
        ),
        (Item("1", "Heat"), "Heat", "Heat"),
        (Item("1", "Heat", "Two men."), "Heat. Two men.", "Heat"),
        (Item("1", "", "Two men.", ("Crime",), {"year": 1995.0}), "Crime. Two men.", "Two men."),
        (Item("1", "Heat", attributes={"year": True}), "Heat", "Heat"),
        (Item("1", attributes={"year": 1995.0}), "", ""),
    ],
)
def test_texts(item, text, title):
    assert item_text(item) == text
    assert item_title(item) == title


def test_long_texts_are_cut():
    assert len(item_text(Item("1", "t", "x" * 50_000))) == 4_000
