"""Reports: published by the job's store, listed and read through a real server."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import grpc
import pytest
from fusionrec.evaluator.v1 import evaluator_service_pb2 as pb
from fusionrec.evaluator.v1 import evaluator_service_pb2_grpc as pb_grpc

from services.evaluator.bootstrap import build, build_reports
from services.evaluator.protocols.measure import Measured
from services.evaluator.reports.report import Report
from services.evaluator.settings import EvaluatorSettings
from shared.data.splits import Protocol
from shared.rpc.status import error_info
from shared.testing.servers import served


def report(protocol=Protocol.WARM, ndcg=0.14):
    return Report(
        protocol=protocol,
        k=10,
        users=656,
        versions={"ranker": "r1", "candidates": "c1", "embedding": "e1"},
        models={"als": Measured({"ndcg@10": 0.12}), "fusion": Measured({"ndcg@10": ndcg}, {1: {"ndcg@10": 0.1}})},
        protocol_text="Warm: …",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        data={"sequence": 9, "queries": 656},
        variants={"fusion": "gbdt"},
    )


@pytest.fixture
def settings(tmp_path):
    return EvaluatorSettings(port=0, metrics_port=0, artifacts=str(tmp_path / "artifacts"))


@pytest.fixture
async def stub(settings):
    async with served(build(settings), settings, "evaluator") as server:
        yield pb_grpc.EvaluatorServiceStub(server.channel)


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), error_info(refused.value)


async def test_without_a_report_the_list_is_empty_and_latest_is_not_found(stub):
    assert not (await stub.ListReports(pb.ListReportsRequest())).reports
    code, info = await refusal(stub.GetReport(pb.GetReportRequest(report_id="latest")))
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_a_published_report_is_listed_and_read_by_a_running_server(stub, settings):
    report_id = await build_reports(settings).publish(report())
    (listed,) = (await stub.ListReports(pb.ListReportsRequest())).reports
    assert (listed.report_id, listed.protocol) == (report_id, "warm")
    assert {one.kind: one.version for one in listed.models} == {"ranker": "r1", "candidates": "c1", "embedding": "e1"}
    assert listed.ndcg_at_10 == {"fusion": 0.14, "als": 0.12}
    for asked in (report_id, "latest"):
        reply = await stub.GetReport(pb.GetReportRequest(report_id=asked))
        assert reply.summary == listed
        assert json.loads(reply.json) == report().as_json()


def test_the_json_of_a_report_has_the_promised_shape():
    assert report().as_json() == {
        "protocol": "warm",
        "k": 10,
        "users": 656,
        "versions": {"ranker": "r1", "candidates": "c1", "embedding": "e1"},
        "models": {"fusion": {"ndcg@10": 0.14, "by_history": {"1": {"ndcg@10": 0.1}}}, "als": {"ndcg@10": 0.12}},
        "variants": {"fusion": "gbdt"},
        "protocol_text": "Warm: …",
        "warnings": [],
        "created_at": "2026-01-01T00:00:00+00:00",
        "data": {"sequence": 9, "queries": 656},
    }


async def test_pages_are_newest_first_and_stable_while_reports_arrive(stub, settings):
    reports = build_reports(settings)
    ids = [await reports.publish(report(ndcg=n / 10)) for n in range(5)]
    first = await stub.ListReports(pb.ListReportsRequest(page_size=2))
    await reports.publish(report())
    second = await stub.ListReports(pb.ListReportsRequest(page_size=2, page_token=first.next_page_token))
    third = await stub.ListReports(pb.ListReportsRequest(page_size=2, page_token=second.next_page_token))
    listed = [one.report_id for page in (first, second, third) for one in page.reports]
    assert listed == ids[::-1]
    assert third.next_page_token == ""


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"page_size": -1}, "page_size", "INVALID_FIELD"),
        ({"page_size": 201}, "page_size", "LIMIT_EXCEEDED"),
        ({"page_token": "../../etc"}, "page_token", "INVALID_FIELD"),
    ],
)
async def test_a_bad_page_is_refused(stub, changes, field, reason):
    code, info = await refusal(stub.ListReports(pb.ListReportsRequest(**changes)))
    assert (code, info.reason, info.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, reason, field)


@pytest.mark.parametrize("report_id", ["", "x" * 257])
async def test_a_bad_report_id_is_refused(stub, report_id):
    code, info = await refusal(stub.GetReport(pb.GetReportRequest(report_id=report_id)))
    assert (code, info.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "report_id")


@pytest.mark.parametrize("report_id", ["nothing", "..", "../../secret", "CURRENT"])
async def test_an_unknown_report_is_not_found(stub, settings, report_id):
    await build_reports(settings).publish(report())
    code, _ = await refusal(stub.GetReport(pb.GetReportRequest(report_id=report_id)))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_a_damaged_report_is_data_loss_and_a_damaged_manifest_does_not_hide_the_others(stub, settings, tmp_path):
    reports = build_reports(settings)
    damaged, whole = await reports.publish(report()), await reports.publish(report())
    folder = tmp_path / "artifacts" / "report" / damaged
    (folder / "report.json").write_text("{}")
    code, info = await refusal(stub.GetReport(pb.GetReportRequest(report_id=damaged)))
    assert (code, info.reason) == (grpc.StatusCode.DATA_LOSS, "CORRUPT_DATA")
    (folder / "manifest.json").write_text("not json")
    assert [one.report_id for one in (await stub.ListReports(pb.ListReportsRequest())).reports] == [whole]
