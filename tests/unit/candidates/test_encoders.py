"""Which encoder a stage is trained with."""

from __future__ import annotations

import pytest

from services.candidates.ports import EncoderNote
from services.candidates.training import embedding
from services.candidates.training.encoders import blind_version, encoder_of_stages
from shared.data.splits import Protocol, Stage
from shared.errors import ModelMismatch, ModelNotReady
from shared.testing.hashing_embedder import HashingEmbedder

BASE = EncoderNote("base", {"origin": "base"}, {}, is_current=False)
ALL = tuple(Stage)


def note(version, method="head", protocol="warm", stage="serving", base="base", encoder="bert", *, current=False):
    labels = {"encoder": encoder, "method": method, "protocol": protocol, "stage": stage}
    return EncoderNote(version, labels, {"base": base} if base else {}, is_current=current)


CURRENT = note("tuned", current=True)


class Listing(HashingEmbedder):
    def __init__(self, *notes, starting=0):
        super().__init__(dim=8)
        self.notes, self.starting, self.asked = notes, starting, 0

    async def versions(self):
        self.asked += 1
        if self.asked <= self.starting:
            raise ModelNotReady("warming up")
        return self.notes


async def test_users_get_the_current_one_and_what_is_measured_one_that_saw_no_answers():
    listing = Listing(CURRENT, BASE)
    found = await encoder_of_stages(listing, "", Protocol.WARM, ALL)
    assert found == {Stage.FIT: "base", Stage.TEST: "base", Stage.SERVING: "tuned"}
    assert listing.texts == 0


async def test_the_folds_are_hidden_from_one_that_may_be_measured_with():
    listing = Listing(CURRENT, note("blind", stage="test"), BASE)
    found = await encoder_of_stages(listing, "", Protocol.WARM, ALL)
    assert found == {Stage.FIT: "base", Stage.TEST: "blind", Stage.SERVING: "tuned"}


@pytest.mark.parametrize("current", ["", "fit"])
async def test_one_that_learned_from_texts_alone_serves_all_stages(current):
    listing = Listing(note("words", current, current=True, encoder="tfidf"), BASE)
    assert await encoder_of_stages(listing, "", Protocol.WARM, ALL) == dict.fromkeys(ALL, "words")


async def test_nothing_is_asked_where_nothing_is_measured_or_all_is_said():
    listing = Listing(CURRENT, BASE)
    assert await encoder_of_stages(listing, "", Protocol.WARM, [Stage.SERVING]) == {Stage.SERVING: ""}
    assert await encoder_of_stages(listing, "mine", Protocol.WARM, ALL) == dict.fromkeys(ALL, "mine")
    assert listing.asked == 0


async def test_an_embedder_of_one_version_is_used_as_it_is():
    assert await encoder_of_stages(HashingEmbedder(), "", Protocol.WARM, ALL) == dict.fromkeys(ALL, "")


async def test_a_service_that_warms_up_is_waited_for(monkeypatch):
    monkeypatch.setattr(embedding, "WARM_UP_POLL_S", 0.001)
    listing = Listing(CURRENT, BASE, starting=2)
    assert (await encoder_of_stages(listing, "", Protocol.WARM, ALL))[Stage.FIT] == "base"
    assert listing.asked == 3


def test_the_newest_of_the_protocol_trained_alike_stands_in():
    others = (
        note("other protocol", protocol="new-items", stage="test"),
        note("other method", "lora", stage="test"),
        note("other encoder", stage="test", encoder="gpt"),
        note("other base", stage="test", base="older"),
        note("saw everything"),
    )
    alike = note("newer", stage="test"), note("older", stage="test")
    assert blind_version((CURRENT, *others, *alike, BASE), Protocol.WARM) == "newer"
    assert blind_version((CURRENT, *others, BASE), Protocol.WARM) == "base"
    assert blind_version((CURRENT, *others, *alike, BASE), Protocol.NEW_ITEMS) == "other protocol"


@pytest.mark.parametrize(
    ("current", "command"),
    [
        (CURRENT, "--encoder bert --method head --protocol new-users --stage test`"),
        (
            note("w", "sessions", base="", encoder="word2vec", current=True),
            "--encoder word2vec --sessions --protocol new-users --stage test`",
        ),
    ],
)
def test_without_any_it_is_said_what_to_do(current, command):
    listed = (current, note("unrelated", "fit", encoder="bow"))
    with pytest.raises(ModelMismatch) as refused:
        blind_version(listed, Protocol.NEW_USERS)
    assert f"`python -m services.embedding train {command}" in refused.value.message
    assert "CANDIDATES_EMBEDDING_VERSION" in refused.value.message
    # What it says to do helps.
    helps = note("blind", current.labels["method"], "new-users", "test", current.lineage.get("base", ""))
    helps = EncoderNote("blind", {**helps.labels, "encoder": current.labels["encoder"]}, helps.lineage, False)
    assert blind_version((helps, *listed), Protocol.NEW_USERS) == "blind"
