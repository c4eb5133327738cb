"""A server's life: live, ready, draining, gone. In this process and as real processes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import urllib.request

import grpc
import grpc.aio
import pytest
from fusionrec.channel import connect
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as pb_grpc
from fusionrec.ingestion.v1 import ingestion_service_pb2 as log_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as log_pb_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from shared.rpc import interpreter
from shared.rpc.server import PortTaken, running
from shared.testing.probe import ProbeApp
from shared.testing.processes import NOWHERE, ROOT, ServiceProcess, free_port
from shared.testing.servers import health_status, served, wait_health


@pytest.fixture
def process():
    with ServiceProcess("probe", module="shared.testing.probe") as one:
        yield one


async def test_live_at_once_ready_when_warm(settings):
    gate = asyncio.Event()
    app = ProbeApp(gate=gate)
    async with served(app, settings, "probe", ready=False) as server:
        assert await health_status(server.channel, "liveness") == "SERVING"
        for name in ("", *app.service_names):
            assert await health_status(server.channel, name) == "NOT_SERVING"
        gate.set()
        await wait_health(server.channel)
        for name in ("", *app.service_names):
            assert await health_status(server.channel, name) == "SERVING"
        assert server.lifecycle.reason == ""
    assert app.stopped


async def test_a_failed_start_leaves_a_live_server_that_is_not_serving(settings):
    app = ProbeApp(start_error=ValueError("a secret"))
    async with served(app, settings, "probe", ready=False) as server:
        async with asyncio.timeout(10):
            while server.lifecycle.reason == "starting":
                await asyncio.sleep(0.01)
        assert await health_status(server.channel) == "NOT_SERVING"
        assert await health_status(server.channel, "liveness") == "SERVING"
        assert "secret" not in server.lifecycle.reason


async def test_reflection_lists_the_services(settings):
    app = ProbeApp()
    async with served(app, settings, "probe") as server:
        stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = [one async for one in stub.ServerReflectionInfo(iter([request]))]
    listed = {service.name for service in answer.list_services_response.service}
    assert {*app.service_names, "grpc.health.v1.Health"} <= listed


async def test_a_second_server_on_the_port_is_refused_with_a_remedy(settings):
    async with served(ProbeApp(), settings, "probe") as server:
        port = int(server.address.rsplit(":", 1)[1])
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}: another process has the port.*PROBE_PORT"):
            async with running(ProbeApp(), settings.model_copy(update={"port": port}), "probe"):
                pytest.fail("two servers share a port")


async def test_an_address_of_another_machine_is_not_called_taken(settings):
    with pytest.raises(PortTaken, match="not an address of this machine"):
        async with running(ProbeApp(), settings.model_copy(update={"host": "192.0.2.1", "port": 50_000}), "probe"):
            pytest.fail("listens on a foreign address")


async def test_drain_ends_followers_and_watchers_without_waiting_for_the_grace(settings):
    settings = settings.model_copy(update={"grace_s": 600.0})  # waiting for it would be the test's timeout
    app = ProbeApp()
    async with running(app, settings, "probe") as (address, lifecycle), grpc.aio.insecure_channel(address) as channel:
        await wait_health(channel)
        follower = log_pb_grpc.IngestionServiceStub(channel).ReadEvents(log_pb.ReadEventsRequest(follow=True))
        assert (await follower.read()).cursor == "1"
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await lifecycle.begin_drain()
        assert await _rest(watch) == [health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)]
        await _rest(follower)
        assert await watch.code() is await follower.code() is grpc.StatusCode.OK
        await lifecycle.ready()
        assert await health_status(channel) == "NOT_SERVING"


async def _rest(messages) -> list:
    return [message async for message in _until_end(messages)]


async def _until_end(messages):
    while (message := await messages.read()) is not grpc.aio.EOF:
        yield message


def test_sigterm_finishes_the_running_call_and_exits_with_0(process):
    process.wait_ready()
    with connect(process.address) as channel:
        stub = pb_grpc.EmbeddingServiceStub(channel)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        follower = log_pb_grpc.IngestionServiceStub(channel).ReadEvents(log_pb.ReadEventsRequest(follow=True))
        assert next(follower).cursor == "1"
        running_call = stub.Embed.future(pb.EmbedRequest(texts=["sleep 1.5", "left"]), timeout=30)
        stub.Embed(pb.EmbedRequest(texts=["left"]), timeout=30)  # behind it on the same connection: it has arrived
        process.process.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert process.is_running
        assert running_call.result().served_by.timings[0].stage == "left"
        list(follower)
        assert follower.code() is grpc.StatusCode.OK
    assert process.wait_exit() == 0
    assert '"event": "stopped"' in process.log
    assert "Traceback" not in process.log


def test_sigterm_while_warming_ends_at_once():
    with ServiceProcess("probe", {"PROBE_WARM_S": "600"}, module="shared.testing.probe") as process:
        process.wait_live()
        assert process.health() == "NOT_SERVING"
        assert process.terminate() == 0


SETTLED = """
import gc, os, signal, sys
from shared.rpc.server import serve
from shared.testing.probe import ProbeApp, ProbeSettings

class App(ProbeApp):
    async def start(self, lifecycle):
        print("settled", sys.getswitchinterval(), *gc.get_threshold(), file=sys.stderr)
        os.kill(os.getpid(), signal.SIGTERM)

sys.exit(serve(App, ProbeSettings(), "probe"))
"""
"""A server that says how its interpreter is set and ends."""


def test_a_serving_process_has_the_interpreters_settings_of_one():
    command = [sys.executable, "-c", SETTLED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    (said,) = (line.split()[1:] for line in done.stderr.splitlines() if line.startswith("settled"))
    assert float(said[0]) == pytest.approx(interpreter.SWITCH_INTERVAL_S)
    assert tuple(map(int, said[1:])) == interpreter.GC_THRESHOLDS


def test_a_taken_port_is_a_message_and_exit_code_1(process):
    process.wait_ready()
    with ServiceProcess("probe", port=process.port, module="shared.testing.probe") as second:
        assert second.wait_exit() == 1
        assert f"probe: cannot listen on {process.address}: another process has the port" in second.log
        assert "Traceback" not in second.log
    assert process.health() == "SERVING"


def test_a_taken_metrics_port_is_named_as_such(process):
    process.wait_ready()
    env = {"PROBE_METRICS_PORT": str(process.port)}
    with ServiceProcess("probe", env, module="shared.testing.probe") as second:
        assert second.wait_exit() == 1
        assert f"probe: cannot serve metrics on {process.address}" in second.log
        assert "PROBE_METRICS_PORT" in second.log


def test_metrics_are_served():
    port = free_port()
    with ServiceProcess("probe", {"PROBE_METRICS_PORT": str(port)}, module="shared.testing.probe") as process:
        process.wait_ready()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    assert 'fusionrec_ready{service="probe"} 1.0' in text


def test_the_containers_health_probe(process):
    def probe(*arguments: str) -> int:
        command = [sys.executable, "-m", "shared.rpc.probe", *arguments]
        return subprocess.run(command, cwd=ROOT, check=False).returncode

    process.wait_ready()
    assert probe(process.address) == 0
    assert probe(process.address, "liveness") == 0
    assert probe(process.address, "nobody") == 1
    assert probe(NOWHERE) == 1


def test_a_killed_process_comes_back_on_its_port(process):
    process.wait_ready()
    with connect(process.address) as channel:
        stub = pb_grpc.EmbeddingServiceStub(channel)
        stub.Embed(pb.EmbedRequest(texts=["left"]), timeout=10)
        process.kill9()
        with pytest.raises(grpc.RpcError) as caught:
            stub.Embed(pb.EmbedRequest(texts=["left"]), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        process.start()
        process.wait_ready()
        stub.Embed(pb.EmbedRequest(texts=["left"]), timeout=10, wait_for_ready=True)


async def test_watchers_hear_every_status_and_unknown_names_are_told_apart(settings):
    gate = asyncio.Event()
    async with served(ProbeApp(gate=gate), settings, "probe", ready=False) as server:
        stub = health_pb2_grpc.HealthStub(server.channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", "liveness", "nobody")]
        kind = health_pb2.HealthCheckResponse
        assert [(await watch.read()).status for watch in watches] == [
            kind.NOT_SERVING, kind.SERVING, kind.SERVICE_UNKNOWN,
        ]  # fmt: skip
        gate.set()
        assert (await watches[0].read()).status == kind.SERVING
        await server.lifecycle.not_ready("a model is missing")
        assert (await watches[0].read()).status == kind.NOT_SERVING
        assert server.lifecycle.reason == "a model is missing"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
