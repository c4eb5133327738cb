"""Every bad field is refused by name, over the wire; the ranker runs without any neighbour."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from fusionrec.candidates.v1 import candidates_service_pb2_grpc as candidates_grpc
from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.ranker.v1 import ranker_service_pb2 as pb
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as pb_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.ranker.__main__ import main
from services.ranker.bootstrap import RankerApp
from services.ranker.settings import RankerSettings
from shared.rpc.status import error_info
from shared.testing.processes import NOWHERE
from shared.testing.servers import served


@pytest.fixture
async def stub(tmp_path):
    settings = RankerSettings(
        port=0,
        metrics_port=0,
        artifacts=str(tmp_path),
        ingestion_address=NOWHERE,
        embedding_address=NOWHERE,
        candidates_address=NOWHERE,
        warm_timeout_s=0,
    )
    async with served(RankerApp(settings), settings, "ranker", ready=False) as server:
        yield pb_grpc.RankerServiceStub(server.channel)


def context(**fields) -> pb.RankingContext:
    return pb.RankingContext(**{"user_id": "u", **fields})


def recommend(**fields) -> pb.RecommendRequest:
    return pb.RecommendRequest(**{"context": context(), "k": 10, **fields})


EVENT = event_pb2.HistoryEvent(item_id="a", type=event_pb2.EVENT_TYPE_LIKE)
NO_RATING = event_pb2.HistoryEvent(item_id="a", type=event_pb2.EVENT_TYPE_RATING)
NO_TYPE = event_pb2.HistoryEvent(item_id="a")
OLD, FUTURE = Timestamp(seconds=1), Timestamp(seconds=99_999_999_999)
EMPTY_RULE = item_pb2.AttributeRule(name="year")
PIN, BOOST = pb.Pin(item_id="a", position=1), pb.SelectionRule(name="r", when={"categories_any": ["X"]}, boost=1)


def selection(**fields) -> pb.RecommendRequest:
    return recommend(selection=pb.SelectionOptions(**fields))


def rule(**fields) -> pb.SelectionRule:
    return pb.SelectionRule(**{"name": "other", "when": {"categories_any": ["X"]}, **fields})


WRONG_OPTIONS = [
    (selection(calibration=1.5), "selection.calibration", "INVALID_FIELD"),
    (selection(long_tail=-0.1), "selection.long_tail", "INVALID_FIELD"),
    (selection(min_new_share=float("nan")), "selection.min_new_share", "INVALID_FIELD"),
    (selection(diversity_method=9), "selection.diversity_method", "INVALID_FIELD"),
    (selection(exploration_method=1), "selection.exploration_method", "INVALID_FIELD"),
    (selection(max_per_category=0), "selection.max_per_category", "INVALID_FIELD"),
    (selection(category_caps=[{"max_items": 1}]), "selection.category_caps[0].category", "INVALID_FIELD"),
    (selection(category_caps=[{"category": "X"}] * 2), "selection.category_caps[1].category", "INVALID_FIELD"),
    (selection(category_caps=[{"category": f"{n}"} for n in range(65)]), "selection.category_caps", "LIMIT_EXCEEDED"),
    (selection(pins=[{"item_id": "a"}]), "selection.pins[0].position", "INVALID_FIELD"),
    (selection(pins=[{"item_id": "a", "position": 11}]), "selection.pins[0].position", "LIMIT_EXCEEDED"),
    (selection(pins=[PIN, {"item_id": "b", "position": 1}]), "selection.pins[1].position", "INVALID_FIELD"),
    (selection(pins=[PIN, {"item_id": "a", "position": 2}]), "selection.pins[1].item_id", "INVALID_FIELD"),
    (selection(pins=[PIN] * 101), "selection.pins", "LIMIT_EXCEEDED"),
    (selection(pins=[PIN], block_item_ids=["a"]), "selection.pins[0].item_id", "INVALID_FIELD"),
    (selection(block_item_ids=[str(n) for n in range(1001)]), "selection.block_item_ids", "LIMIT_EXCEEDED"),
    (selection(rules=[BOOST] * 17), "selection.rules", "LIMIT_EXCEEDED"),
    (selection(rules=[BOOST, BOOST]), "selection.rules[1].name", "INVALID_FIELD"),
    (selection(rules=[BOOST, rule(bury=1)]), "selection.rules[1]", "INVALID_FIELD"),
    (selection(rules=[rule(require=True), rule(name="b", exclude=True)]), "selection.rules[1]", "INVALID_FIELD"),
    (selection(rules=[rule()]), "selection.rules[0]", "INVALID_FIELD"),
    (selection(rules=[rule(when={}, boost=1)]), "selection.rules[0].when", "INVALID_FIELD"),
    (selection(rules=[rule(boost=0)]), "selection.rules[0].boost", "INVALID_FIELD"),
    (selection(rules=[rule(bury=11)]), "selection.rules[0].bury", "INVALID_FIELD"),
    (selection(rules=[rule(require=False)]), "selection.rules[0].require", "INVALID_FIELD"),
    (selection(rules=[rule(name="n" * 65, boost=1)]), "selection.rules[0].name", "LIMIT_EXCEEDED"),
    (
        selection(rules=[rule(when={"exclude_item_ids": ["a"]}, boost=1)]),
        "selection.rules[0].when.exclude_item_ids",
        "INVALID_FIELD",
    ),
    (
        recommend(selection={"pins": [PIN]}, filter={"exclude_item_ids": ["a"]}),
        "selection.pins[0].item_id",
        "INVALID_FIELD",
    ),
    (recommend(selection={"min_new_share": 0.1}, new_item_slots=1), "selection.min_new_share", "INVALID_FIELD"),
    (recommend(selection={"min_new_share": 0.1}, explore=True), "selection.min_new_share", "INVALID_FIELD"),
    (recommend(new_item_slots=1, explore=True), "new_item_slots", "INVALID_FIELD"),
    (recommend(selection={"calibration": 0.1}, explore=True), "selection.calibration", "INVALID_FIELD"),
    (
        recommend(filter={"exclude_item_ids": [str(n) for n in range(100_000)]}),
        "filter.exclude_item_ids",
        "LIMIT_EXCEEDED",
    ),
]


@pytest.mark.parametrize(
    ("request_", "field", "reason"),
    [
        (recommend(k=0), "k", "INVALID_FIELD"),
        (recommend(k=-3), "k", "INVALID_FIELD"),
        (recommend(k=1001), "k", "LIMIT_EXCEEDED"),
        (recommend(context=pb.RankingContext()), "context.user_id", "INVALID_FIELD"),
        (recommend(context=context(user_id="x" * 257)), "context.user_id", "LIMIT_EXCEEDED"),
        (recommend(context=context(user_id="a\nb")), "context.user_id", "INVALID_FIELD"),
        (recommend(context=context(as_of=OLD)), "context.as_of", "INVALID_FIELD"),
        (recommend(context=context(as_of=FUTURE)), "context.as_of", "INVALID_FIELD"),
        (
            recommend(context=context(history=event_pb2.History(events=[EVENT] * 1001))),
            "context.history.events",
            "LIMIT_EXCEEDED",
        ),
        (
            recommend(context=context(history=event_pb2.History(events=[NO_TYPE]))),
            "context.history.events[0].type",
            "INVALID_FIELD",
        ),
        (
            recommend(context=context(history=event_pb2.History(events=[EVENT, NO_RATING]))),
            "context.history.events[1].value",
            "INVALID_FIELD",
        ),
        (recommend(context=context(min_model_version="latest")), "context.min_model_version", "INVALID_FIELD"),
        (recommend(diversity=-0.1), "diversity", "INVALID_FIELD"),
        (recommend(diversity=1.1), "diversity", "INVALID_FIELD"),
        (recommend(diversity=float("nan")), "diversity", "INVALID_FIELD"),
        (recommend(diversity=0.5, explore=True), "diversity", "INVALID_FIELD"),
        (recommend(new_item_slots=-1), "new_item_slots", "INVALID_FIELD"),
        (recommend(new_item_slots=11), "new_item_slots", "LIMIT_EXCEEDED"),
        (recommend(seen_policy=9), "seen_policy", "INVALID_FIELD"),
        (
            recommend(filter=item_pb2.ItemFilter(exclude_item_ids=[str(n) for n in range(10_001)])),
            "filter.exclude_item_ids",
            "LIMIT_EXCEEDED",
        ),
        (
            recommend(filter=item_pb2.ItemFilter(attributes=[EMPTY_RULE])),
            "filter.attributes[0]",
            "INVALID_FIELD",
        ),
        (pb.BatchRecommendRequest(), "requests", "INVALID_FIELD"),
        (pb.BatchRecommendRequest(requests=[recommend()] * 101), "requests", "LIMIT_EXCEEDED"),
        (pb.BatchRecommendRequest(requests=[recommend(k=1000)] * 11), "requests", "LIMIT_EXCEEDED"),
        (
            pb.BatchRecommendRequest(requests=[recommend(k=1000), *[recommend(k=501, explain=True)] * 2]),
            "requests",
            "LIMIT_EXCEEDED",
        ),
        (pb.BatchRecommendRequest(requests=[recommend(), recommend(k=0)]), "requests[1].k", "INVALID_FIELD"),
        (pb.RankRequest(context=context()), "item_ids", "INVALID_FIELD"),
        (pb.RankRequest(context=context(), item_ids=["a", "b", "a"]), "item_ids[2]", "INVALID_FIELD"),
        (pb.RankRequest(context=context(), item_ids=["a", ""]), "item_ids[1]", "INVALID_FIELD"),
        (
            pb.RankRequest(context=context(), item_ids=[str(n) for n in range(2001)]),
            "item_ids",
            "LIMIT_EXCEEDED",
        ),
        (pb.RankRequest(context=context(), item_ids=["a"], k=-1), "k", "INVALID_FIELD"),
        (pb.ExplainRequest(context=context()), "item_ids", "INVALID_FIELD"),
        (
            pb.ExplainRequest(context=context(), item_ids=[str(n) for n in range(101)]),
            "item_ids",
            "LIMIT_EXCEEDED",
        ),
        *WRONG_OPTIONS,
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_bad_fields_are_named(stub, request_, field, reason):
    method = getattr(stub, type(request_).__name__.removesuffix("Request"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method(request_, timeout=10)
    info = error_info(caught.value)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (info.reason, info.metadata["field"]) == (reason, field)
    assert info.metadata["limit"]
    assert info.metadata["hint"]


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (recommend(context=context(model_version="20200101T000000-none")), grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        (recommend(context=context(model_version="../etc")), grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        (
            recommend(context=context(min_model_version="20200101T000000-none")),
            grpc.StatusCode.FAILED_PRECONDITION,
            "MODEL_NOT_READY",
        ),
        (recommend(), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        (pb.GetModelInfoRequest(model_version="none"), grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    ],
)
async def test_other_refusals(stub, request_, code, reason):
    method = getattr(stub, type(request_).__name__.removesuffix("Request"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method(request_, timeout=10)
    assert caught.value.code() is code
    assert error_info(caught.value).reason == reason


def test_a_wrong_rules_file_ends_the_start_with_its_line(tmp_path, monkeypatch, capsys):
    path = tmp_path / "rules.yaml"
    path.write_text("selection:\n  long_tail: 2\n")
    monkeypatch.setenv("RANKER_RULES", str(path))
    assert main(["serve"]) == 2
    told = capsys.readouterr().err
    assert f"RANKER_RULES = '{path}': line 2: selection.long_tail = '2.0' breaks the limit 0..1" in told


async def test_a_rules_file_that_breaks_while_it_runs_is_told(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text("diversity: 0.1\n")
    settings = RankerSettings(
        port=0, metrics_port=0, artifacts=str(tmp_path), ingestion_address=NOWHERE, embedding_address=NOWHERE,
        candidates_address=NOWHERE, warm_timeout_s=0, rules=str(path), rules_poll_s=0.02,
    )  # fmt: skip
    async with served(RankerApp(settings), settings, "ranker", ready=False) as server, asyncio.timeout(20):
        stub = pb_grpc.RankerServiceStub(server.channel)

        async def told(wanted):
            while (
                "rules: " in (reason := (await stub.GetModelInfo(pb.GetModelInfoRequest())).status_reason)
            ) != wanted:
                await asyncio.sleep(0.02)
            return reason

        await told(wanted=False)
        path.write_text("diversity: 0.1\nselection: {pins: [{item_id: a, position: 1}], block_item_ids: [a]}\n")
        assert "rules: line 2: selection.pins[0].item_id" in await told(wanted=True)
        path.write_text("diversity: 0.2\n")
        await told(wanted=False)


OPEN = "it hung on 3 calls; it is asked again"


class Hanging(candidates_grpc.CandidatesServiceServicer):
    calls = 0

    async def GetCandidates(self, request, context):  # noqa: ARG002, N802 (gRPC's signature)
        Hanging.calls += 1
        await asyncio.Event().wait()


async def test_a_neighbour_that_hangs_is_asked_no_more(tmp_path):
    hanging = grpc.aio.server()
    candidates_grpc.add_CandidatesServiceServicer_to_server(Hanging(), hanging)
    port = hanging.add_insecure_port("127.0.0.1:0")
    await hanging.start()
    settings = RankerSettings(
        port=0, metrics_port=0, artifacts=str(tmp_path), ingestion_address=NOWHERE, embedding_address=NOWHERE,
        candidates_address=f"127.0.0.1:{port}", candidates_timeout_s=0.3, warm_timeout_s=0,
    )  # fmt: skip
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as probe,
        served(RankerApp(settings), settings, "ranker", ready=False) as server,
    ):
        await asyncio.wait_for(probe.channel_ready(), 10)
        stub, told = pb_grpc.RankerServiceStub(server.channel), []
        # Three calls that hang open the circuit. A call may find it unreachable instead, which says nothing of hanging:
        # gRPC keeps a port that did not answer an earlier channel of this process in its backoff.
        while len(told) < 30 and not any(OPEN in one for one in told[:-2]):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Recommend(recommend(), timeout=10)
            told.append(caught.value.details())
    await hanging.stop(0)
    assert all(OPEN in one for one in told[-3:])
    assert Hanging.calls == 3


async def test_the_untrained_ranker_tells_its_features_and_has_no_model(stub):
    info = await stub.GetModelInfo(pb.GetModelInfoRequest())
    assert info.model_version == ""
    assert info.status_reason
    assert not info.fusions
    assert {feature.group for feature in info.features} == {"cf", "text", "popularity", "context"}
