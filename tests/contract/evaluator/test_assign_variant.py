"""AssignVariant through a real server, and a ranker that answers with what it assigns."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from fusionrec.evaluator.v1 import evaluator_service_pb2 as pb
from fusionrec.evaluator.v1 import evaluator_service_pb2_grpc as pb_grpc

from services.evaluator.bootstrap import build
from services.evaluator.settings import EvaluatorSettings
from services.ranker.adapters.grpc_evaluator import GrpcEvaluator
from shared.errors import CorruptData, NotFound
from shared.rpc.client import open_channel
from shared.rpc.status import error_info
from shared.testing.servers import served

FILE = "experiments:\n- name: trees\n  variants: {gbdt: 1, linear: 1}\n"


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "experiments.yaml").write_text(FILE)
    return EvaluatorSettings(
        port=0,
        metrics_port=0,
        artifacts=str(tmp_path / "artifacts"),
        experiments=str(tmp_path / "experiments.yaml"),
        experiments_poll_s=0.02,
    )


@pytest.fixture
async def server(settings):
    async with served(build(settings), settings, "evaluator") as server:
        yield server


@pytest.fixture
def stub(server):
    return pb_grpc.EvaluatorServiceStub(server.channel)


async def variants(stub, experiment="trees", users=50):
    asked = [pb.AssignVariantRequest(experiment=experiment, user_id=f"u{n}") for n in range(users)]
    return [(await stub.AssignVariant(one)).variant for one in asked]


async def refusal(stub, **fields):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.AssignVariant(pb.AssignVariantRequest(**fields))
    return refused.value.code(), error_info(refused.value), refused.value.details()


async def test_a_user_is_in_one_variant_also_after_a_restart(stub, settings):
    first = await variants(stub)
    assert set(first) == {"gbdt", "linear"}
    assert await variants(stub) == first
    async with served(build(settings), settings, "evaluator") as other:
        assert await variants(pb_grpc.EvaluatorServiceStub(other.channel)) == first


async def test_a_changed_file_holds_soon_and_a_broken_one_never(stub, tmp_path):
    path = tmp_path / "experiments.yaml"
    first = await variants(stub)
    path.write_text(FILE.replace("1}", "0}"))
    await asyncio.sleep(0.2)
    assert await variants(stub) == first
    path.write_text("experiments:\n- name: trees\n  variants: {dot: 1}\n")
    async with asyncio.timeout(10):
        while await variants(stub) != ["dot"] * 50:
            await asyncio.sleep(0.02)


async def test_what_is_wrong_is_named(stub):
    code, info, details = await refusal(stub, experiment="none", user_id="u")
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    assert details == "no experiment 'none'; there are trees"
    for fields, field in (({"user_id": "u"}, "experiment"), ({"experiment": "trees"}, "user_id")):
        code, info, _ = await refusal(stub, **fields)
        assert (code, info.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    code, info, _ = await refusal(stub, experiment="trees", user_id="u" * 257)
    assert (info.reason, info.metadata["field"]) == ("LIMIT_EXCEEDED", "user_id")


async def test_without_a_file_there_is_no_experiment(tmp_path):
    settings = EvaluatorSettings(port=0, metrics_port=0, artifacts=str(tmp_path / "artifacts"))
    async with served(build(settings), settings, "evaluator") as server:
        code, _, details = await refusal(pb_grpc.EvaluatorServiceStub(server.channel), experiment="e", user_id="u")
    assert code is grpc.StatusCode.NOT_FOUND
    assert "EVALUATOR_EXPERIMENTS" in details


def test_a_broken_file_ends_the_start(settings, tmp_path):
    (tmp_path / "experiments.yaml").write_text("experiments: 7\n")
    with pytest.raises(CorruptData, match=r"EVALUATOR_EXPERIMENTS = .*line 1: experiments"):
        build(settings)


async def test_the_ranker_asks_over_the_wire(server, stub):
    async with open_channel(server.address) as channel:
        assigner = GrpcEvaluator(channel)
        assert [await assigner.assign("trees", f"u{n}", 5) for n in range(50)] == await variants(stub)
        with pytest.raises(NotFound, match="trees"):
            await assigner.assign("none", "u", 5)
