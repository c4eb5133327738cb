"""The engine's figures: one run of the limit, of the service, and of every competitor, on the same texts and cores."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import uvloop

from benchmarks.embedding import gemm, rivals
from benchmarks.embedding.overload import overload
from benchmarks.embedding.served import Client
from benchmarks.embedding.texts import Texts
from services.embedding.adapters.hf_folder import CONFIG, locate
from services.embedding.settings import EmbeddingSettings
from shared.testing.processes import ServiceProcess

if TYPE_CHECKING:
    import argparse

COMPARED = 1_000
SINGLES = 200


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the figures of all engines."""
    settings = EmbeddingSettings()
    model = locate(settings.model)
    config = json.loads((model / CONFIG).read_text())
    cores = len(os.sched_getaffinity(0))
    texts = Texts(model, settings.max_tokens, small=options.small)
    singles = texts.titles[: SINGLES // (8 if options.small else 1)]
    compared = texts.titles[:: max(len(texts.titles) // COMPARED, 1)][:COMPARED]
    tokens = {name: texts.tokens(load) for name, load in texts.loads.items()}
    sizes = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    limit = gemm.limit(*sizes, cores)
    served = uvloop.run(_served(texts, singles, compared, options))
    plan = {"model": str(model), "threads": cores, "loads": texts.loads, "single": singles}
    engines = {"service": served}
    for name in rivals.ENGINES:
        if name in options.rivals:
            wanted = compared if name == "sentence-transformers" else []
            engines[name] = rivals.measure(name, {**plan, "vectors": wanted})
    for one in engines.values():
        one["tokens_per_s"] = {name: tokens[name] / seconds for name, seconds in one.get("seconds", {}).items()}
    if not options.small:
        # Measured before and after: the lower one would flatter.
        limit = max(limit, gemm.limit(*sizes, cores), key=lambda one: one["tokens_per_s"])
    figures = {"cores": cores, "texts": len(texts.titles), "tokens": tokens, "gemm": limit, "engines": engines}
    return {**figures, "ratios": _ratios(figures)}


async def _served(texts: Texts, singles: list[str], compared: list[str], options: argparse.Namespace) -> dict[str, Any]:
    with ServiceProcess("embedding", {"EMBEDDING_CACHE_TEXTS": "0"}) as process:
        process.wait_ready(timeout=300)
        client = Client(process)
        try:
            seconds = {name: await client.bulk(load) for name, load in texts.loads.items()}
            peak = len(texts.titles) / seconds["titles"]
            batch = await client.vectors(compared)
            alone = np.concatenate([await client.vectors([text]) for text in compared[: len(singles)]])
            return {
                "seconds": seconds,
                "single_p50_ms": await client.single_p50_ms(singles),
                "callers_texts_per_s": await client.callers_texts_per_s(texts.titles, options.seconds),
                "peak_texts_per_s": peak,
                "batch_to_single": float(np.abs(batch[: len(alone)] - alone).max()),
                "overload": await overload(process, texts.titles, peak, options.overload),
                "vectors": batch.tolist(),
            }
        finally:
            await client.close()


def _ratios(figures: dict[str, Any]) -> dict[str, Any]:
    engines = figures["engines"]
    served, limit = engines["service"], figures["gemm"]["tokens_per_s"]
    ratios = {
        "to_gemm": {
            name: one["tokens_per_s"]["titles"] / limit for name, one in engines.items() if one["tokens_per_s"]
        },
        "callers_to_bulk": served["callers_texts_per_s"] / served["peak_texts_per_s"],
        "goodput_to_peak": served["overload"]["goodput_texts_per_s"] / served["peak_texts_per_s"],
        "offered_to_peak": served["overload"]["offered_texts_per_s"] / served["peak_texts_per_s"],
        "memory_growth": served["overload"]["memory_peak_mb"] / served["overload"]["memory_before_mb"],
    }
    ours = np.array(served.pop("vectors"), np.float64)
    for name, one in engines.items():
        vectors = np.array(one.pop("vectors", []), np.float64)
        if name == "service" or "failed" in one:
            continue
        ratios[f"to_{name}"] = {load: served["tokens_per_s"][load] / rate for load, rate in one["tokens_per_s"].items()}
        ratios[f"single_to_{name}"] = served["single_p50_ms"] / one["single_p50_ms"]
        if vectors.size:
            cosines = (ours * vectors).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(vectors, axis=1)
            ratios["lowest_cosine"] = float(cosines.min())
    return ratios
