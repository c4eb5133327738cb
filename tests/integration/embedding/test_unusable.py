"""Models that cannot be served: the process stays up, says why, and refuses calls with that reason."""

from __future__ import annotations

import asyncio
import json
import shutil
import time

import grpc
import numpy as np
import pytest
from fusionrec.channel import connect
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as rpc
from safetensors.numpy import load_file, save_file

from services.embedding.bootstrap import build
from services.embedding.settings import EmbeddingSettings
from shared.rpc.server import LIVENESS
from shared.rpc.status import error_info
from shared.testing.processes import ServiceProcess
from shared.testing.servers import health_status, served
from shared.testing.tiny_decoder import write_tiny_decoder
from shared.testing.tiny_encoder import write_tiny_encoder


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


def broken_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{}")


def other_family(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "t5"}))


def unfitting(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "intermediate_size": 48}))


def not_a_number(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.embeddings.LayerNorm.weight"][:] = np.nan
    save_file(tensors, folder / "model.safetensors")


def larger_tokenizer(folder):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["spaceship"] = len(content["model"]["vocab"])
    path.write_text(json.dumps(content))


def larger_tokenizer_of_a_decoder(folder):
    shutil.rmtree(folder)
    larger_tokenizer(write_tiny_decoder(folder))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut_weights, "damaged or cut short"),
        (no_tokenizer, "no tokenizer"),
        (broken_tokenizer, "tokenizer of the model cannot be read"),
        (other_family, "'t5'"),
        (unfitting, "do not fit the configuration"),
        (not_a_number, "bert.embeddings.LayerNorm.weight in model.safetensors holds numbers that are not finite"),
        (larger_tokenizer, "ids up to 66, and the model has vectors for 66 tokens"),
        (larger_tokenizer_of_a_decoder, "the tokenizer does not belong to the weights"),
    ],
)
async def test_server_stays_up_and_says_why(tmp_path, damage, says):
    folder = write_tiny_encoder(tmp_path / "model")
    damage(folder)
    settings = EmbeddingSettings(port=0, metrics_port=0, model=str(folder), xla_shapes=())
    async with served(build(settings), settings, "embedding", ready=False) as service:
        async with asyncio.timeout(240):
            while service.lifecycle.reason == "starting":
                await asyncio.sleep(0.02)
        assert says in service.lifecycle.reason
        assert await health_status(service.channel) == "NOT_SERVING"
        assert await health_status(service.channel, LIVENESS) == "SERVING"
        stub = rpc.EmbeddingServiceStub(service.channel)
        for call in (stub.Embed(pb.EmbedRequest(texts=["a"])), stub.GetModelInfo(pb.GetModelInfoRequest())):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert error_info(refused.value).reason == "MODEL_NOT_READY"
            assert says in refused.value.details()
            assert str(tmp_path) not in refused.value.details()


def test_process_with_a_damaged_model_answers_and_ends_cleanly(tmp_path):
    folder = write_tiny_encoder(tmp_path / "model")
    cut_weights(folder)
    with ServiceProcess("embedding", {"EMBEDDING_MODEL": str(folder)}) as process:
        process.wait_live(timeout=120)
        with connect(process.address) as channel, pytest.raises(grpc.RpcError) as refused:
            rpc.EmbeddingServiceStub(channel).Embed(pb.EmbedRequest(texts=["a"]), timeout=10)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert process.health() == "NOT_SERVING"
        assert process.terminate() == 0
        assert "Traceback" not in process.log


def test_process_with_bad_settings_names_the_setting():
    with ServiceProcess("embedding", {"EMBEDDING_QUEUE_TEXTS": "5"}) as process:
        assert process.wait_exit(60) == 2
        assert "EMBEDDING_QUEUE_TEXTS = '5'" in process.log


def test_sigterm_while_it_warms_up_is_not_kept_waiting_for_the_rest(tmp_path):
    folder = write_tiny_encoder(tmp_path / "model")
    # Minutes of compiling, one shape after the other.
    shapes = [[rows, tokens] for rows in range(1, 33) for tokens in range(8, 64, 2)]
    variables = {"EMBEDDING_MODEL": str(folder), "EMBEDDING_XLA_SHAPES": json.dumps(shapes)}
    with ServiceProcess("embedding", variables) as process:
        until = time.monotonic() + 240
        while "model loaded" not in process.log:
            assert process.is_running, process.log
            assert time.monotonic() < until
            time.sleep(0.05)
        assert process.health() == "NOT_SERVING"
        assert process.terminate(60) == 0
        assert "stopped" in process.log
        assert "model warm" not in process.log
