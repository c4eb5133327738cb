"""The evaluator as a process: what an operator and a client of another language meet."""

from __future__ import annotations

import signal
import subprocess
import sys

import grpc
import pytest
from fusionrec.evaluator.v1 import evaluator_service_pb2 as pb
from fusionrec.evaluator.v1 import evaluator_service_pb2_grpc as pb_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from shared.rpc.status import error_info
from shared.testing.processes import NOWHERE, ROOT, ServiceProcess

METHOD = "/fusionrec.evaluator.v1.EvaluatorService/EvaluateRankings"


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    artifacts = str(tmp_path_factory.mktemp("evaluator"))
    with ServiceProcess("evaluator", {"EVALUATOR_ARTIFACTS": artifacts}) as running:
        running.wait_ready()
        yield running


@pytest.fixture
def channel(process):
    with grpc.insecure_channel(process.address, options=[("grpc.max_send_message_length", -1)]) as open_channel:
        yield open_channel


def run(*arguments, **settings):
    environment = {f"EVALUATOR_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "services.evaluator", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_client_without_our_helpers_is_answered(channel):
    reply = pb_grpc.EvaluatorServiceStub(channel).EvaluateRankings(
        pb.EvaluateRankingsRequest(
            rankings=[pb.Ranking(query_id="q", item_ids=["a"])],
            judgements=[pb.Judgement(query_id="q", item_id="a", gain=1)],
        ),
        metadata=(("x-request-id", "mine"),),
    )
    assert reply.metrics["ndcg@10"] == 1.0
    assert reply.served_by.request_id == "mine"


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x03\x0a\x01\xff"], ids=["broken", "invalid UTF-8"])
def test_bytes_that_are_no_message_are_the_callers_fault(channel, data):
    call = channel.unary_unary(METHOD)
    with pytest.raises(grpc.RpcError) as refused:
        call(data)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(refused.value).reason == "INVALID_FIELD"


def test_a_message_over_the_limit_is_refused(channel):
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(METHOD)(b"\x00" * (16 * 1024 * 1024 + 1))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_reflection_names_the_service(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (answer,) = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = [one.name for one in answer.list_services_response.service]
    assert "fusionrec.evaluator.v1.EvaluatorService" in names


def test_it_ends_cleanly_on_sigterm(tmp_path):
    with ServiceProcess("evaluator", {"EVALUATOR_ARTIFACTS": str(tmp_path)}) as running:
        running.wait_ready()
        running.process.send_signal(signal.SIGTERM)
        assert running.wait_exit() == 0


def test_a_run_without_services_fails_in_one_line_and_prints_nothing_on_stdout(tmp_path):
    ended = run("run", "--json", RANKER_ADDRESS=NOWHERE, CANDIDATES_ADDRESS=NOWHERE, ARTIFACTS=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.strip().splitlines()[-1] == "evaluator: ranker does not answer: not reachable"
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bad_setting_is_named():
    ended = run("serve", KS="[5]")
    assert ended.returncode == 2
    assert "EVALUATOR_KS" in ended.stderr
    assert "must contain 10" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_unknown_protocol_is_refused_with_the_valid_ones():
    ended = run("run", "--protocol", "lukewarm")
    assert ended.returncode == 2
    assert all(name in ended.stderr for name in ("warm", "new-items", "new-users"))


def test_help_says_what_there_is():
    ended = run("--help")
    assert ended.returncode == 0
    assert "serve" in ended.stdout
    assert "run" in ended.stdout
