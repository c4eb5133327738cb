"""What the demo shows once models are trained: three users, and what a live event and a new item change."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.common.v1.serving_pb2 import USER_TEMPERATURE_COLD
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ranker.v1 import ranker_service_pb2 as ranker_pb

from shared.cli.console import Refusal, out, spinner
from shared.cli.recommend import show
from shared.rpc.convert import encode_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.cli.calls import Services

HOT_USER = "197"
"""A user of the data set with 63 ratings, most of them of science fiction."""
TASTE = ("1", "3114", "4886", "6377")
"""Toy Story, Toy Story 2, Monsters, Inc., Finding Nemo."""
NEW_TITLE = "Toy Story 4"
"""A film that the data set does not have."""
SHOWN = 5
LIVE_K = 20
PATIENCE_S = 10.0
POLL_S = 0.05


@dataclass(frozen=True)
class Cast:
    """The users and the item of one run: named after its time, so that a second run finds them new again."""

    cold: str
    warm: str
    item: str

    @classmethod
    def now(cls) -> Cast:
        """Returns names that no run before has used."""
        at = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
        return cls(f"newcomer-{at}", f"visitor-{at}", f"film-{at}")


def three_users(services: Services, cast: Cast) -> None:
    """Shows answers with reasons for a user never seen, one with a few ratings, one with many.

    Raises:
        Refusal: a call failed.

    """
    rate(services, cast.warm, TASTE[:3])
    _until("the ratings of the visitor count", lambda: _ask(services, cast.warm).temperature != USER_TEMPERATURE_COLD)
    for user, who in (
        (cast.cold, "never seen"),
        (cast.warm, "rated three films"),
        (HOT_USER, "rated 63 films, mostly science fiction"),
    ):
        show(_ask(services, user, k=SHOWN, explain=True), f"user {user}, {who}", out())


def live_event(services: Services, cast: Cast) -> None:
    """Shows that ratings move the newcomer's next answer.

    Raises:
        Refusal: they did not.

    """
    before = _titles(_ask(services, cast.cold, k=SHOWN))
    rate(services, cast.cold, TASTE)
    seconds = _until(
        "the newcomer's ratings move the answer", lambda: _titles(_ask(services, cast.cold, k=SHOWN)) != before
    )
    after = _ask(services, cast.cold, k=SHOWN)
    console = out()
    console.print(f"before: {', '.join(before)}", markup=False)
    show(after, f"{cast.cold}, {seconds:.2f} s after {len(TASTE)} ratings, no training", console)


def live_item(services: Services, cast: Cast) -> None:
    """Shows that an item that is nothing but a title reaches a user it fits.

    Raises:
        Refusal: it did not.

    """
    item = item_pb2.Item(item_id=cast.item, title=NEW_TITLE)
    services.call("ingestion", "UpsertItems", ingestion_pb.UpsertItemsRequest(items=[item]))
    seconds = _until(
        f"the new film “{NEW_TITLE}” reaches the newcomer",
        lambda: _place(_ask(services, cast.cold, k=LIVE_K), cast.item) > 0,
    )
    place = _place(_ask(services, cast.cold, k=LIVE_K), cast.item)
    out().print(
        f"“{NEW_TITLE}”, an item with a title and no events, is at place {place} of {LIVE_K} for {cast.cold} "
        f"{seconds:.2f} s after it was written, no training",
        markup=False,
    )


def rate(services: Services, user: str, items: Sequence[str]) -> None:
    """Writes a rating of 5 by `user` for each item.

    Raises:
        Refusal: ingestion does not answer, or rejects one.

    """
    now = encode_time(datetime.now(UTC))
    events = [
        event_pb2.Event(user_id=user, item_id=item, type=event_pb2.EVENT_TYPE_RATING, value=5.0, timestamp=now)
        for item in items
    ]
    answer = services.call("ingestion", "WriteEvents", ingestion_pb.WriteEventsRequest(events=events))
    for result in answer.results:
        if result.status == ingestion_pb.WRITE_STATUS_REJECTED:
            raise Refusal(f"ingestion rejected a rating: {result.violation.hint}")


def _ask(services: Services, user: str, *, k: int = LIVE_K, explain: bool = False) -> Any:
    request = ranker_pb.RecommendRequest(
        context=ranker_pb.RankingContext(user_id=user),
        k=k,
        explain=explain,
        include_titles=True,
        skip_impressions=True,
    )
    return services.call("ranker", "Recommend", request)


def _titles(answer: Any) -> list[str]:
    return [one.title or one.item_id for one in answer.results]


def _place(answer: Any, item_id: str) -> int:
    return next((one.position for one in answer.results if one.item_id == item_id), 0)


def _until(what: str, holds: Callable[[], bool]) -> float:
    """Asks until it holds; returns the seconds it took."""
    started = time.monotonic()
    with spinner(what):
        while not holds():
            if time.monotonic() - started > PATIENCE_S:
                raise Refusal(f"not within {PATIENCE_S:.0f} s: {what}")
            time.sleep(POLL_S)
    return time.monotonic() - started
