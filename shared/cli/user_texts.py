"""The text profile of a user as the ranker makes it: texts of liked items and own reviews, newer ones heavier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb

from shared.data.nouns import EventType, HistoryEvent
from shared.data.preferences import PreferenceRules
from shared.data.texts import item_text, profile_texts, recency_weights
from shared.rpc.convert import decode_item, decode_time

if TYPE_CHECKING:
    from shared.cli.calls import Services

HISTORY = 200
TEXTS = 20
"""As many as the ranker reads by default (RANKER_PROFILE_TEXTS)."""


def text_profile(services: Services, user_id: str, positive_rating: float) -> list[tuple[str, float]]:
    """Returns the texts, oldest first, each with its weight; empty for a user that nothing is known of.

    Raises:
        Refusal: ingestion does not answer or refuses.

    """
    history = services.call("ingestion", "GetUserHistory", pb.GetUserHistoryRequest(user_id=user_id, limit=HISTORY))
    rules = PreferenceRules(positive_rating=positive_rating)
    events = [
        HistoryEvent(
            one.item_id,
            EventType(one.type),
            decode_time(one.timestamp, "events.timestamp"),
            one.value if one.HasField("value") else None,
            one.text,
        )
        for one in reversed(history.events)
    ]
    positive = [event for event in events if rules.signal(event) > 0]
    # Of an item liked twice, the later time counts.
    liked = list(reversed(dict.fromkeys(event.item_id for event in reversed(positive))))[-TEXTS:]
    found = services.call("ingestion", "GetItems", pb.GetItemsRequest(item_ids=liked)).items if liked else ()
    known = {one.item_id: item_text(decode_item(one, "items")) for one in found}
    texts = profile_texts(
        [known.get(item_id, "") for item_id in liked], [event.text for event in positive if event.text], TEXTS
    )
    return list(zip(texts, recency_weights(len(texts)), strict=True))
