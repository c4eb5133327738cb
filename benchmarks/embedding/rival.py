"""One competitor in a process of its own, in the environment of `competitors.txt`: reads a plan, prints its figures.

Stands alone, for it runs without this project's packages. Standard input: JSON with `engine`, `model`, `threads`,
`loads` (name → texts), `single` (texts) and `vectors` (texts). Standard output: one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "true"
BATCH = 32
ROUNDS = 3
ROUNDS_S = 20.0
"""No round of a load is begun after so many seconds of them; the same for every engine (`served.py`)."""
SINGLES_S = 20.0
"""No single text is begun after so many seconds of them."""


class SentenceTransformers:
    """The library as its documentation uses it: it sorts by length itself."""

    def __init__(self, model: str, threads: int) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        self._model = SentenceTransformer(model, device="cpu")

    def encode(self, texts: list[str]) -> Any:
        """Returns unit vectors, (texts, dim)."""
        return self._model.encode(texts, batch_size=BATCH, normalize_embeddings=True)


class OnnxRuntime:
    """`streams` sessions side by side over texts sorted by length, each with its share of the threads."""

    def __init__(self, model: str, threads: int, streams: int) -> None:
        import onnxruntime
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(threads // streams, 1)
        path = _export(model)
        self._sessions = [onnxruntime.InferenceSession(path, options) for _ in range(streams)]
        self._pool = ThreadPoolExecutor(streams)
        shutil.rmtree(Path(path).parent)

    def encode(self, texts: list[str]) -> Any:
        """Returns unit vectors, (texts, dim)."""
        import numpy as np

        ids = self._tokenizer(texts, truncation=True, max_length=256)["input_ids"]
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        parts = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        streams = len(self._sessions)

        def run(number: int) -> list[Any]:
            return [self._batch(number, [ids[index] for index in part]) for part in parts[number::streams]]

        vectors: list[Any] = [None] * len(parts)
        for number, made in enumerate(self._pool.map(run, range(streams))):
            vectors[number::streams] = made
        result = np.empty((len(texts), vectors[0].shape[1]), np.float32)
        result[order] = np.concatenate(vectors)
        return result

    def _batch(self, stream: int, rows: list[list[int]]) -> Any:
        import numpy as np

        shape = (len(rows), max(map(len, rows)))
        ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        (hidden,) = self._sessions[stream].run(None, {"input_ids": ids, "attention_mask": mask})
        weights = mask[:, :, None].astype(np.float32)
        mean = (hidden * weights).sum(1) / weights.sum(1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


class Infinity:
    """infinity-emb's own engine, without its HTTP server."""

    def __init__(self, model: str, threads: int) -> None:
        import asyncio

        import torch
        from infinity_emb import AsyncEmbeddingEngine, EngineArgs

        torch.set_num_threads(threads)
        self._loop = asyncio.new_event_loop()
        arguments = EngineArgs(model_name_or_path=model, engine="torch", device="cpu", batch_size=BATCH)
        self._engine = AsyncEmbeddingEngine.from_args(arguments)
        self._loop.run_until_complete(self._engine.astart())

    def encode(self, texts: list[str]) -> Any:
        """Returns vectors, (texts, dim)."""
        import numpy as np

        vectors, _usage = self._loop.run_until_complete(self._engine.embed(sentences=texts))
        return np.asarray(vectors)


def _export(model: str) -> str:
    """Returns the model as an ONNX file, made by torch once for a process."""
    import torch
    from transformers import AutoModel

    class LastLayer(torch.nn.Module):  # type: ignore[misc, unused-ignore]  # torch is not installed where types are checked
        def __init__(self) -> None:
            super().__init__()
            self.inner = AutoModel.from_pretrained(model, attn_implementation="eager").eval()

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    target = str(Path(tempfile.mkdtemp(prefix="onnx-")) / "model.onnx")
    example = torch.ones((2, 8), dtype=torch.int64)
    axes = {0: "texts", 1: "tokens"}
    torch.onnx.export(
        LastLayer(),
        (example, example),
        target,
        input_names=["input_ids", "attention_mask"],
        output_names=["hidden"],
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "hidden": axes},
        dynamo=False,
    )
    return target


def _made(plan: dict[str, Any]) -> Any:
    engine, model, threads = plan["engine"], plan["model"], plan["threads"]
    if engine == "sentence-transformers":
        return SentenceTransformers(model, threads)
    if engine == "infinity-emb":
        return Infinity(model, threads)
    return OnnxRuntime(model, threads, threads if engine == "onnxruntime-streams" else 1)


def main() -> None:
    """Measures one engine."""
    plan = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        engine = _made(plan)
        engine.encode(plan["single"][:BATCH])
        seconds = {}
        for name, texts in plan["loads"].items():
            # The best of some rounds, for every engine: what disturbs the machine only ever makes it slower.
            seconds[name] = min(_until(ROUNDS_S, engine, [texts] * ROUNDS))
        singles = [1e3 * one for one in _until(SINGLES_S, engine, [[text] for text in plan["single"]])]
        vectors = (
            [[round(float(one), 7) for one in row] for row in engine.encode(plan["vectors"])] if plan["vectors"] else []
        )
    print(json.dumps({"seconds": seconds, "single_p50_ms": statistics.median(singles), "vectors": vectors}))


def _until(seconds: float, engine: Any, lists: list[list[str]]) -> list[float]:
    times: list[float] = []
    for texts in lists:
        if sum(times) < seconds:
            times.append(_timed(engine, texts))
    return times


def _timed(engine: Any, texts: list[str]) -> float:
    started = time.perf_counter()
    engine.encode(texts)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
    # Threads that an engine leaves behind (infinity-emb's are not daemons) would keep the process.
    sys.stdout.flush()
    os._exit(0)
