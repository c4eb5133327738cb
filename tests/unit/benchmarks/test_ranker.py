"""The ranker's benchmark: what its figures are held to, how runs are put together, how exposure is cut."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.candidates.data import Data
from benchmarks.ranker import exposure, report, results
from benchmarks.ranker.exposure import BY_SCORE, SERVED
from benchmarks.ranker.serving import AS_CALLED, COMPUTED
from shared.data.nouns import Event, EventType, Item
from shared.data.splits import hidden_items

SPEED = {"calls_per_s": 10.0, "p50_ms": 1.0, "p99_ms": 2.0, "failed": 0}
CLOSED = {"concurrency 1": SPEED, "concurrency 16": SPEED}


def serving(ratio=0.5, p99=40.0, score=2_900):
    load = {
        "reply_bytes": 5_000,
        "candidates_scored": 300,
        "closed_loop": CLOSED,
        "open_loop_at_half": {"offered_per_s": 5.0, **SPEED, "p99_ms": p99},
        "stage_us": {"hydrate": {"p50": 1, "p99": 2}},
        "degraded": {},
    }
    ratios = {name: {"calls_per_s": ratio, "p50": 2.0} for name in CLOSED}
    loads = (COMPUTED, AS_CALLED)
    return {
        "chain": CLOSED,
        "chain_sized": CLOSED,
        "inner_reply_bytes": 30_000,
        "loads": dict.fromkeys(loads, load),
        "first_call_of_a_user": SPEED,
        "to_chain": dict.fromkeys(loads, ratios),
        "to_chain_sized": dict.fromkeys(loads, ratios),
        "scoring_us": {"dot": {"p50": 100, "p99": 200}, "deep": {"p50": score, "p99": 9_000}},
    }


def swap(failed=0, ratio=1.5):
    figures = {"calls": 100, **SPEED}
    load = {
        "quiet": figures,
        "swaps": {**figures, "failed": failed},
        "p99_to_quiet": ratio,
        "published_to_first_answer_s": {"swaps": [0.5], "roll_back": [0.4]},
    }
    return {
        "capacity_per_s": 30.0,
        "offered_per_s": 10.0,
        "swaps": 5,
        "loads": dict.fromkeys((COMPUTED, AS_CALLED), load),
    }


def served(fusion=0.16):
    lengths = {f"after {n}": 0.33 for n in (1, 3, 5, 10)}
    own = {"fusion": {"ndcg@10": fusion, **lengths}, "als": {"ndcg@10": 0.1, **lengths}, "random": {"ndcg@10": 0.9}}
    part = {"users": 3, "fusion": "gbdt", "warnings": [], "models": own}
    return dict.fromkeys(("warm", "new-users", "new-items"), part)


def missed(parts):
    return [one.name for one in report.verdicts(parts) if not one.met]


def test_what_is_within_the_bounds_is_met():
    assert missed({"serving": serving(), "swap": swap()}) == []


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        ({"serving": serving(ratio=0.39)}, "calls/s to the bare chain"),
        ({"serving": serving(p99=50.1)}, "p99 at half that load"),
        ({"serving": serving(score=3_001)}, "stage score"),
        ({"swap": swap(failed=1)}, "failed calls"),
        ({"swap": swap(ratio=2.1)}, "p99 while versions are swapped"),
        ({"swap": {}}, "swapped"),
    ],
    ids=str,
)
def test_what_is_out_of_bounds_or_not_there_is_missed(parts, names):
    found = missed(parts)
    assert found
    assert all(names in one for one in found)


def test_the_random_floor_is_no_source():
    verdicts = {one.name: one for one in report.verdicts({"served": served()})}
    warm = verdicts["served, warm: fusion to the best source"]
    assert (warm.value, warm.met) == (pytest.approx(1.6), True)
    assert not verdicts["served, new users after 3: fusion to the best source"].met


def test_the_page_has_a_section_for_each_part_with_its_own_commit():
    parts = {"serving": serving(), "swap": swap(), "served": served()}
    measured = {name: {"at": "2026-11-28", "commit": f"c-{name}"} for name in parts}
    page = report.markdown({"environment": {"date": "d"}, "small": False, "parts": parts, "measured": measured})
    for name in parts:
        assert f"\n## {name}\n\nMeasured 2026-11-28, commit c-{name}." in page
    assert "**missed**" in page


def test_of_each_part_the_newest_run_counts(tmp_path):
    old = {"environment": {"date": "2026-11-27", "commit": "a"}, "parts": {"warm": 1, "swap": 1}}
    new = {
        "environment": {"date": "2026-11-28", "commit": "b"},
        "parts": {"warm": 1, "swap": 2},
        "measured": {
            "swap": {"at": "2026-11-28T10:00:00+00:00", "commit": "b"},
            "warm": {"at": "2026-11-27", "commit": "a"},
        },
    }
    older = {
        "environment": {"date": "2026-11-28", "commit": "z"},
        "parts": {"swap": 0},
        "measured": {"swap": {"at": "2026-11-28T09:00:00+00:00", "commit": "z"}},
    }
    for name, run in (("b", new), ("a", old), ("z", older)):
        (tmp_path / f"ranker-2026-11-28-{name}.json").write_text(json.dumps(run))
    found = results.earlier(tmp_path)
    assert found["parts"] == {"warm": 1, "swap": 2}
    assert {name: one["commit"] for name, one in found["measured"].items()} == {"warm": "a", "swap": "b"}
    assert results.earlier(tmp_path / "none") == {"parts": {}, "measured": {}}


def test_the_log_of_exposure_knows_nothing_of_what_is_to_come():
    start = datetime(2020, 1, 1, tzinfo=UTC)
    events = tuple(
        Event(
            f"{user}-{turn}",
            f"u{user}",
            f"i{(user * 7 + turn * 3) % 20}",
            EventType.RATING,
            start + timedelta(days=turn),
            5.0,
        )
        for user in range(12)
        for turn in range(10)
    )
    data = Data(tuple(Item(f"i{n}") for n in range(20)), events)
    made = exposure.scene(data)
    hidden = hidden_items(events)
    assert {one.item_id for one in made.later} == hidden
    assert hidden.isdisjoint(one.item_id for one in (*made.log.items, *made.log.events))
    assert max(one.timestamp for one in made.log.events) < start + timedelta(days=math.ceil(0.8 * 10))
    for user in made.users:
        history = {one.item_id for one in made.log.events if one.user_id == user.user_id}
        assert history
        assert user.relevant.isdisjoint(history | hidden)
        assert user.hidden <= hidden


def test_exposure_counts_places_and_users_who_like_what_is_hidden():
    users = (
        exposure.Warm("a", frozenset({"known"}), frozenset({"new"})),
        exposure.Warm("b", frozenset({"known"}), frozenset()),
    )
    scene = exposure.Scene(Data((), ()), (Item("new"), Item("other")), users)
    row = exposure.row([["known", "new"], ["other", "known"]], scene)
    assert row["exposure@10"] == 0.5
    assert row["hit_rate@10"] == 1.0
    assert row["shown_hidden_that_are_liked"] == 1.0
    assert row["ndcg@10"] == pytest.approx((1 + 1 / math.log2(3)) / 2, abs=1e-4)


def test_losses_are_held_to_their_bound():
    phases = {SERVED: {"loss": 0.02}, BY_SCORE: {"loss": 0.04}}
    assert missed({"exposure": {"phases": phases}}) == [f"warm NDCG@10 lost to items without events, {BY_SCORE}"]
