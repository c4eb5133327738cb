"""The training command against real servers: interrupted, killed, gone on with, published, swapped to under calls."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from fusionrec.channel import connect
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as rpc
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_rpc

from services.embedding.adapters.checkpoint_file import CheckpointFile
from shared.artifacts import ArtifactStore
from shared.rpc.convert import encode_event, encode_item
from shared.testing.processes import ROOT, ServiceProcess
from shared.testing.tiny_encoder import write_tiny_encoder

_spec = importlib.util.spec_from_file_location(
    "training_samples", ROOT / "tests" / "unit" / "embedding" / "training_samples.py"
)
samples = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(samples)

START_S = 200
EVERY = 25
"""Steps between two checkpoints."""
COMMAND = ["train", "--method", "head", "--always", "--epochs", "20000", "--batch", "16", "--progress", "json"]


@pytest.fixture
def folder(tmp_path):
    write_tiny_encoder(tmp_path / "base")
    return tmp_path


@pytest.fixture
def environment(folder):
    return {
        "EMBEDDING_MODEL": str(folder / "base"),
        "EMBEDDING_MAX_TOKENS": "32",
        "EMBEDDING_XLA_SHAPES": "[]",
        "EMBEDDING_ARTIFACTS": str(folder / "artifacts"),
        "EMBEDDING_ARTIFACTS_POLL_S": "0.05",
        "EMBEDDING_TRAINING_FOLDER": str(folder / "training"),
        "EMBEDDING_FINETUNE__CHECKPOINT_STEPS": str(EVERY),
        "EMBEDDING_FINETUNE__PATIENCE": "10000",
        # Judgements take longer than all steps between them.
        "EMBEDDING_FINETUNE__EVALUATE_EPOCHS": "500",
    }


class Job:
    """One run of the command."""

    def __init__(self, environment, *options):
        command = [sys.executable, "-m", "services.embedding", *COMMAND, *options]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Where the tests run in the background of a shell, they and their children ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (it takes no lock)
        )

    def ended_by(self, kind, ready):
        """Sends a signal as soon as `ready()` is true; returns the exit code and standard error."""
        until = time.monotonic() + START_S
        while not ready() and self.process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        self.process.send_signal(kind)
        return self.ended()

    def ended(self):
        self.said, errors = self.process.communicate(timeout=START_S)
        return self.process.returncode, errors


def step_of(folder):
    """Returns the step of the one run's checkpoint; 0 before there is one."""
    found = list(folder.glob("training/runs/*/finetune.safetensors"))
    return CheckpointFile(found[0]).load()[0]["finetune"]["step"] if found else 0


def write(address, snapshot):
    """Writes a catalogue and its events; returns how many events there are."""
    with connect(address) as channel:
        stub = ingestion_rpc.IngestionServiceStub(channel)
        if snapshot.items:
            stub.UpsertItems(ingestion_pb.UpsertItemsRequest(items=map(encode_item, snapshot.items.values())))
        stub.WriteEvents(ingestion_pb.WriteEventsRequest(events=map(encode_event, snapshot.events)))
        return stub.GetStats(ingestion_pb.GetStatsRequest()).events


class Caller(threading.Thread):
    """Embeds one new text after the other until it is told to end; keeps which versions answered, and what failed."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.versions, self.failures, self.done = address, [], [], threading.Event()

    def run(self):
        with connect(self.address) as channel:
            stub = rpc.EmbeddingServiceStub(channel)
            while not self.done.is_set():
                try:
                    reply = stub.Embed(pb.EmbedRequest(texts=[f"a film about {len(self.versions)}"]), timeout=60)
                    self.versions.append(reply.served_by.models[0].version)
                except Exception as error:  # noqa: BLE001 (whatever fails is what the test is about)
                    self.failures.append(error)
                time.sleep(0.02)


@pytest.mark.slow
def test_a_training_survives_its_process_and_is_served_without_a_failed_call(folder, environment):
    store = ArtifactStore(str(folder / "artifacts"))
    with (
        ServiceProcess("ingestion", {"INGESTION_STORE": f"sqlite:///{folder / 'log.db'}"}) as ingestion,
        ServiceProcess("embedding", environment) as embedding,
    ):
        ingestion.wait_ready()
        environment["EMBEDDING_INGESTION_ADDRESS"] = ingestion.address
        read = write(ingestion.address, samples.two_tastes())

        code, _ = Job(environment).ended_by(signal.SIGKILL, lambda: step_of(folder))
        assert code == -signal.SIGKILL
        killed_at = step_of(folder)
        later = samples.two_tastes(seed=1)
        more = [replace_id(event) for event in later.events[:50]]
        assert write(ingestion.address, samples.LogSnapshot(more, {})) == read + 50

        code, errors = Job(environment).ended_by(signal.SIGINT, lambda: step_of(folder) > killed_at)
        assert code == 130, errors
        assert "goes on from the last checkpoint" in errors
        assert f'"step": {killed_at}' in next(line for line in errors.splitlines() if "resumed" in line)
        assert store.versions("embedding") == []
        interrupted_at = step_of(folder)
        assert interrupted_at > killed_at >= EVERY

        embedding.wait_ready(START_S)
        caller = Caller(embedding.address)
        caller.start()
        job = Job(environment, "--max-minutes", "0.001")
        code, errors = job.ended()
        assert code == 0, errors
        steps = [said["done"] for said in map(json.loads, lines(errors)) if said.get("stage") == "train"]
        assert steps[0] > interrupted_at
        version = job.said.split()[0]
        manifest = store.manifest("embedding", version)
        assert manifest.data["events"] == read
        assert manifest.metrics["steps"] > interrupted_at
        until = time.monotonic() + START_S
        while version not in caller.versions[-1:] and time.monotonic() < until:
            time.sleep(0.05)
        caller.done.set()
        caller.join(60)
        assert caller.failures == []
        assert caller.versions[0] != caller.versions[-1] == version


def replace_id(event):
    return samples.Event(
        f"later-{event.event_id}", event.user_id, event.item_id, event.type, event.timestamp, value=5.0
    )


def lines(errors):
    return [line for line in errors.splitlines() if line.startswith("{")]
