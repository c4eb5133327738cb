"""`fusionrec explain-text` against real services: readable, summing, and honest about what it does not know."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb
from fusionrec.ingestion.v1.ingestion_service_pb2_grpc import IngestionServiceStub

from services.embedding.bootstrap import build as build_embedding
from services.embedding.settings import EmbeddingSettings
from services.ingestion.bootstrap import build as build_ingestion
from services.ingestion.settings import IngestionSettings
from shared.cli.addresses import Addresses
from shared.cli.main import main
from shared.cli.processes import free_port_base
from shared.testing.servers import served, wait_health
from shared.testing.tiny_encoder import write_tiny_encoder

pytestmark = pytest.mark.asyncio(loop_scope="module")


def event(number, item, kind, **values):
    message = event_pb2.Event(event_id=f"e{number}", user_id="ann", item_id=item, type=kind, **values)
    message.timestamp.FromDatetime(datetime(2024, 1, 1 + number, tzinfo=UTC))
    return message


async def fill(stub):
    items = [
        item_pb2.Item(item_id="1", title="a film about space"),
        item_pb2.Item(item_id="2", title="love and war"),
        item_pb2.Item(item_id="3", title="q"),
    ]
    await stub.UpsertItems(pb.UpsertItemsRequest(items=items))
    events = [
        event(1, "1", event_pb2.EVENT_TYPE_RATING, value=5.0),
        event(2, "3", event_pb2.EVENT_TYPE_RATING, value=2.0),
        event(3, "2", event_pb2.EVENT_TYPE_LIKE),
        event(4, "2", event_pb2.EVENT_TYPE_REVIEW, value=4.0, text="the war in love"),
    ]
    await stub.WriteEvents(pb.WriteEventsRequest(events=events))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def command(tmp_path_factory):
    """Returns a function that runs the command against the two services, and returns its exit code."""
    base = Addresses(free_port_base(Addresses()))
    folder = tmp_path_factory.mktemp("explain")
    ingestion = IngestionSettings(
        port=base.port("ingestion"), metrics_port=0, store=f"sqlite:///{folder}/events.db", open_retry_s=0.05
    )
    model = str(write_tiny_encoder(folder / "model"))
    embedding = EmbeddingSettings(port=base.port("embedding"), metrics_port=0, model=model, xla_shapes=())
    async with (
        served(build_ingestion(ingestion), ingestion, "ingestion") as first,
        served(build_embedding(embedding), embedding, "embedding", ready=False) as second,
    ):
        await wait_health(second.channel, timeout_s=240)
        await fill(IngestionServiceStub(first.channel))
        common = ["--port-base", str(base.port("ingestion")), "--data-dir", str(folder / "data")]

        async def run(*arguments):
            return await asyncio.to_thread(main, ["explain-text", *arguments, *common])

        yield run


async def test_two_texts_are_shown_with_their_words_and_sums(command, capsys):
    assert await command("a film about love", "love and war") == 0
    shown = capsys.readouterr().out
    assert "text: a film about love" in shown
    assert "other: love and war" in shown
    assert re.search(r"│ love\s+│ +[+-]\d\.\d{3} │ █+", shown)
    similarity = float(re.search(r"similarity (\S+)", shown).group(1))
    sums = [float(one) for one in re.findall(r"sum (\S+) of", shown)]
    assert len(sums) == 2
    assert sums == pytest.approx([similarity] * 2, abs=max(0.02 * abs(similarity), 2e-3))


async def test_json_is_the_answer_of_the_server(command, capsys):
    assert await command("a film", "war", "--json", "--attention") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [word["word"] for word in answer["words"]] == ["a", "film"]
    assert answer["tokens"] == ["[CLS]", "a", "film", "[SEP]"]
    assert len(answer["attention"][0]["weights"]) == 16


async def test_a_users_profile_is_what_the_user_liked_and_wrote(command, capsys):
    assert await command("a war in space", "--user", "ann", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    texts = ["".join(word["word"] for word in one["words"]) for one in answer["others"]]
    # The review, then the liked items, oldest first; the item that was rated 2 is not among them.
    assert texts == ["thewarinlove", "afilmaboutspace", "loveandwar"]
    assert await command("a war in space", "--user", "ann") == 0
    shown = capsys.readouterr().out
    assert "text profile of user ann: 3 texts" in shown
    assert "love and war" in shown


async def test_what_cannot_be_explained_is_said(command, capsys):
    assert await command("a", "--user", "nobody") == 1
    assert "user nobody has no text profile" in capsys.readouterr().err
    assert await command(" ", "b") == 1
    assert "text = ' '" in capsys.readouterr().err
    for wrong in (["a"], ["a", "b", "--user", "ann"], ["a", "b", "--attention"]):
        assert await command(*wrong) == 2
