"""Bytes that clients in the field send and read. A change here breaks them: it needs a new package version."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from fusionrec.common.v1 import error_pb2, event_pb2, item_pb2, serving_pb2, vector_pb2

from shared.data.nouns import AttributeRule, Event, EventType, HistoryEvent, Item, ItemFilter
from shared.rpc import convert

T = datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=UTC)

MESSAGES = {
    "event": (
        convert.encode_event(Event("e1", "user-1", "item-1", EventType.RATING, T, 4.5, "fine", "s1", "a1", 3)),
        (
            "0a0265311206757365722d311a066974656d2d312004290000000000001240320b08d7f181af061080e59a77"
            "3a0466696e65420273314a0261315003"
        ),
    ),
    "event with the value 0": (
        convert.encode_event(Event("", "u", "i", EventType.PLAY, T, 0.0)),
        "1201751a0169200a290000000000000000320b08d7f181af061080e59a77",
    ),
    "history": (
        convert.encode_history([HistoryEvent("item-1", EventType.PURCHASE, T)]),
        "0a170a066974656d2d311009220b08d7f181af061080e59a77",
    ),
    "item": (
        convert.encode_item(
            Item(
                "item-1",
                "Heat (1995)",
                "A heist.",
                ("Crime", "Drama"),
                {"year": 1995.0, "colour": True, "brand": "x", "tags": ("a", "b"), "out": T},
                available_from=T,
                vectors={"image": np.array([1, -2.5], np.float32)},
                updated_at=T,
            )
        ),
        (
            "0a066974656d2d31120b48656174202831393935291a08412068656973742e22054372696d6522054472616d61"
            "2a0c0a056272616e6412030a01782a0c0a06636f6c6f7572120218012a140a036f7574120d2a0b08d7f181af061080e59a77"
            "2a100a0474616773120822060a01610a01622a110a047965617212091100000000002c9f40"
            "320b08d7f181af061080e59a7742150a05696d616765120c0a080000803f000020c01002520b08d7f181af061080e59a77"
        ),
    ),
    "vector": (
        convert.encode_vector(np.array([0, 1, -1, 0.5], np.float32)),
        "0a10000000000000803f000080bf0000003f1004",
    ),
    "filter": (
        convert.encode_filter(
            ItemFilter(
                categories_any=frozenset({"Drama", "Crime"}),
                categories_none=frozenset({"Horror"}),
                attributes=(
                    AttributeRule("year", range=(1990.0, None)),
                    AttributeRule("brand", any_of=("x", "y")),
                    AttributeRule("colour", equals=False),
                ),
                exclude_item_ids=frozenset({"b", "a"}),
            )
        ),
        (
            "0a054372696d650a054472616d611a06486f72726f7222110a04796561721a09090000000000189f40"
            "220f0a056272616e6412060a01780a0179220a0a06636f6c6f757220002a01612a0162"
        ),
    ),
    "violation": (
        error_pb2.FieldViolation(
            field="events[3].user_id",
            limit="1..256 bytes",
            hint="set it",
            reason=error_pb2.ERROR_REASON_INVALID_FIELD,
        ),
        "0a116576656e74735b335d2e757365725f69641a0c312e2e32353620627974657322067365742069742801",
    ),
    "served by": (
        serving_pb2.ServedBy(
            models=[serving_pb2.ModelVersion(kind="ranker", version="v1")],
            index_version="i1",
            timings=[serving_pb2.StageTiming(stage="score", queue_us=1, compute_us=300)],
            request_id="r1",
        ),
        "0a0c0a0672616e6b657212027631120269311a0c0a0573636f7265100118ac0222027231",
    ),
    "degradation": (
        serving_pb2.Degradation(component="embedding", reason="not reachable", fallback="cf_only"),
        "0a09656d62656464696e67120d6e6f7420726561636861626c651a0763665f6f6e6c79",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_have_the_bytes_they_always_had(name):
    message, golden = MESSAGES[name]
    assert message.SerializeToString(deterministic=True).hex() == golden
    assert type(message).FromString(bytes.fromhex(golden)) == message


def test_fields_of_a_newer_client_are_kept_and_do_no_harm():
    data = event_pb2.Event(user_id="u", item_id="i", type=event_pb2.EVENT_TYPE_CLICK).SerializeToString()
    newer = data + bytes.fromhex("fa3e036e6577")  # field 1007, a string
    event = event_pb2.Event.FromString(newer)
    assert convert.decode_event(event, "event", arrived_at=T).user_id == "u"
    assert event.SerializeToString() == newer


def test_vectors_are_little_endian_whatever_made_them():
    for order in (">f4", "<f4", "<f8"):
        assert convert.encode_vector(np.array([1.5], order)).data == b"\x00\x00\xc0\x3f"
    assert convert.decode_vector(vector_pb2.Vector(data=b"\x00\x00\xc0\x3f", dim=1), "v").tolist() == [1.5]


def test_an_empty_message_is_no_bytes():
    assert item_pb2.ItemFilter().SerializeToString() == b""
    assert convert.decode_filter(item_pb2.ItemFilter(), "filter") == ItemFilter()
