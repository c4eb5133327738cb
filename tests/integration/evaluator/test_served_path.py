"""The protocols against real services: what is measured is what is served."""

from __future__ import annotations

import json

import pytest
from fusionrec.candidates.v1 import candidates_service_pb2 as candidates_pb
from fusionrec.candidates.v1 import candidates_service_pb2_grpc as candidates_grpc
from fusionrec.evaluator.v1 import evaluator_service_pb2 as pb
from fusionrec.evaluator.v1 import evaluator_service_pb2_grpc as pb_grpc
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc

from services.evaluator.ports import LogSnapshot
from services.evaluator.protocols.job import PLANS
from shared.data.preferences import PreferenceRules
from shared.data.splits import Protocol

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_before_training_the_run_says_which_command_trains(world):
    ended = world.job("evaluator", "run", "--protocol", "warm", "--json")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "fusionrec train --protocol warm" in ended.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def reports(trained):
    found = {}
    for protocol in Protocol:
        ended = trained.job("evaluator", "run", "--protocol", str(protocol), "--json", "--progress", "json")
        assert ended.returncode == 0, ended.stderr[-3000:]
        found[protocol] = (json.loads(ended.stdout), ended.stderr)
    return found


@pytest.mark.parametrize("protocol", list(Protocol))
def test_every_protocol_measures_the_fusion_and_every_source(reports, trained, open_channel, protocol):
    report, stderr = reports[protocol]
    stub = candidates_grpc.CandidatesServiceStub(open_channel("candidates"))
    info = stub.GetIndexInfo(candidates_pb.GetIndexInfoRequest(model_version=report["versions"]["candidates"]))
    sources = {source.name for source in info.sources if source.proposes}
    usual = {"als", "als_tried", "item_item", "user_knn", "sequential", "aligned_text", "popular"}
    assert sources == usual
    assert sources | {"fusion", "random"} <= set(report["models"])
    labels = next(one.labels for one in info.versions if one.version == report["versions"]["candidates"])
    assert dict(labels) == {"protocol": str(protocol), "stage": "test"}
    plan = PLANS[protocol](
        LogSnapshot(trained.events, frozenset(event.item_id for event in trained.events), 0), PreferenceRules()
    )
    assert report["users"] == plan.users
    assert report["data"]["queries"] == len(plan.queries)
    for model in report["models"].values():
        for name in ("ndcg@10", "precision@10", "recall@20", "f1@10", "mrr@10", "hit_rate@10", "coverage@10"):
            assert 0.0 <= model[name] <= 1.0
        assert ("by_history" in model) == (protocol is Protocol.NEW_USERS)
    assert report["models"]["fusion"]["ndcg@10"] > report["models"]["random"]["ndcg@10"]
    assert not [one for one in report["warnings"] if "without" in one or "struck out" in one]
    said = [json.loads(line) for line in stderr.splitlines() if line.startswith('{"stage"')]
    assert {"read log", "measure fusion", "measure als"} <= {one["stage"] for one in said}


def test_every_report_is_kept_and_the_newest_is_the_latest(reports, open_channel):
    stub = pb_grpc.EvaluatorServiceStub(open_channel("evaluator"))
    listed = stub.ListReports(pb.ListReportsRequest()).reports
    assert [one.protocol for one in listed] == [str(protocol) for protocol in reversed(Protocol)]
    latest = stub.GetReport(pb.GetReportRequest(report_id="latest"))
    assert json.loads(latest.json) == reports[Protocol.NEW_USERS][0]
    assert listed[0].ndcg_at_10["fusion"] == reports[Protocol.NEW_USERS][0]["models"]["fusion"]["ndcg@10"]


def test_measuring_leaves_no_trace_in_the_log(reports, trained, open_channel):
    assert reports
    stub = ingestion_grpc.IngestionServiceStub(open_channel("ingestion"))
    assert stub.GetStats(ingestion_pb.GetStatsRequest()).events == len(trained.events) + len(trained.impressions)


def test_measuring_twice_gives_the_same_figures(reports, trained):
    again = json.loads(trained.job("evaluator", "run", "--protocol", "warm", "--json").stdout)
    assert again["models"] == reports[Protocol.WARM][0]["models"]


def test_without_json_people_get_a_table_and_the_protocol_in_words(trained, reports):
    assert reports
    ended = trained.job("evaluator", "run", "--protocol", "new-items")
    assert ended.returncode == 0
    assert "new-items:" in ended.stdout
    assert "hidden from every training" in " ".join(ended.stdout.split())
    assert "measure fusion" in ended.stderr
