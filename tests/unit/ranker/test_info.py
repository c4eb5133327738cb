"""What is told of the loaded models."""

from __future__ import annotations

import pytest

from services.ranker.info import describe


async def told(house, version=""):
    return (await describe(house.shelf, house.live, house.near, version)).status_reason


async def test_a_newer_encoder_is_told_of_as_long_as_embedding_says_so(house):
    version = await house.train()
    assert await told(house) == ""
    house.near.embedding_version = "e2"
    assert await told(house) == "embedding e2 is current, this model uses e1: train anew to use it"
    assert await told(house, version) == ""
    house.near.down = {"embedding"}
    assert await told(house) == ""


@pytest.mark.parametrize("current", ["", "e1"])
async def test_no_other_encoder_is_no_news(house, current):
    await house.train()
    house.near.embedding_version = current
    assert await told(house) == ""
