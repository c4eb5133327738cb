"""The limit: how many tokens a second the model's bare matrix products allow on these cores.

Each core computes, in a process of its own, what one batch of `ROWS` tokens asks of every layer: (rows, hidden) times
the weights of query, key and value, attention's output, and both of the feed-forward block. All cores at once, as
single-threaded products, with the fastest float32 product at hand (TensorFlow's, and numpy's with its library's own
choice of kernel); the best of some rounds. What attention, normalisation and GELU cost is not in it: no engine reaches
it, but for products that are faster in larger batches.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

ROWS = 512
ROUNDS = 12
REPEATS = 4


def limit(hidden: int, inner: int, layers: int, cores: int) -> dict[str, Any]:
    """Returns `tokens_per_s` and `gflops` of the faster engine, and both engines' GFLOP/s."""
    per_token = 2 * layers * (4 * hidden * hidden + 2 * hidden * inner)
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    env |= {"OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    gflops = {}
    for engine in ("tensorflow", "numpy"):
        command = [sys.executable, "-m", "benchmarks.embedding.gemm", engine, str(hidden), str(inner)]
        running = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(cores)]
        tokens = sum(json.loads(one.communicate()[0].splitlines()[-1]) for one in running) / layers
        gflops[engine] = tokens * per_token / 1e9
    best = max(gflops.values())
    return {"tokens_per_s": best * 1e9 / per_token, "gflops": best, "engines": gflops}


def _tokens_per_s(engine: str, hidden: int, inner: int) -> float:
    """Returns tokens of one layer per second."""
    import numpy as np

    random = np.random.default_rng(0)
    shapes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, inner), (inner, hidden)]
    pairs = [(random.random((ROWS, into), np.float32), random.random((into, out), np.float32)) for into, out in shapes]
    if engine == "numpy":
        run = np.matmul
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        pairs = [(tf.constant(left), tf.constant(right)) for left, right in pairs]
        run = tf.function(tf.matmul)
    for left, right in pairs:
        run(left, right)
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(REPEATS):
            for left, right in pairs:
                run(left, right)
        best = min(best, (time.perf_counter() - started) / REPEATS)
    return ROWS / best


if __name__ == "__main__":
    print(json.dumps(_tokens_per_s(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
