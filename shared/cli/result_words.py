"""The words of recommended items that speak to what a user likes, as the language model reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionrec.embedding.v1 import embedding_service_pb2 as embedding_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb

from shared.cli.user_texts import text_profile
from shared.data.texts import item_text
from shared.rpc.convert import decode_item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.cli.calls import Services

TIMEOUT_S = 120.0
SHOWN = 4
Words = list[tuple[str, float]]
"""Words with what each adds to the similarity, the largest first."""


def result_words(services: Services, user_id: str, positive_rating: float, item_ids: Sequence[str]) -> dict[str, Words]:
    """Returns the words that speak for each item, by item; none for a user without a text profile.

    Raises:
        Refusal: ingestion or embedding does not answer or refuses.

    """
    texts = text_profile(services, user_id, positive_rating)
    profile = [embedding_pb.WeightedText(text=text, weight=weight) for text, weight in texts]
    if not profile or not item_ids:
        return {}
    items = services.call("ingestion", "GetItems", pb.GetItemsRequest(item_ids=item_ids)).items
    found = {}
    for item in items:
        text = item_text(decode_item(item, "items"))
        if text:
            request = embedding_pb.AttributeRequest(text=text, others=profile)
            answer = services.call("embedding", "Attribute", request, timeout_s=TIMEOUT_S)
            found[item.item_id] = _strongest(answer.words)
    return found


def _strongest(words: Sequence[embedding_pb.WordContribution]) -> Words:
    speaking = [
        (one.word, one.contribution) for one in words if one.contribution > 0 and any(map(str.isalnum, one.word))
    ]
    return sorted(speaking, key=lambda one: -one[1])[:SHOWN]
