"""The figures of the engine as Markdown, and what they must reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.candidates.report import table
from benchmarks.candidates.targets import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.candidates.targets import Verdict

REFERENCE = "sentence-transformers"
TARGETS = (
    Target("engine", "bulk tokens/s to sentence-transformers", lambda one: one[f"to_{REFERENCE}"]["titles"], 1.3),
    Target("engine", "bulk tokens/s to the GEMM limit", lambda one: one["to_gemm"]["service"], 0.70),
    Target(
        "engine", "p50 of a single text to sentence-transformers", lambda one: one[f"single_to_{REFERENCE}"], None, 0.7
    ),
    Target("engine", "64 callers of single texts to bulk", lambda one: one["callers_to_bulk"], 0.8),
    Target("engine", "overload: offered to peak", lambda one: one["offered_to_peak"], 3),
    Target("engine", "overload: refused calls", lambda one: one["refusals"], 1),
    Target("engine", "overload: goodput to peak", lambda one: one["goodput_to_peak"], 0.9),
    Target("engine", "overload: peak of memory to before", lambda one: one["memory_growth"], None, 1.1),
    Target("engine", "overload: refusals that are not RESOURCE_EXHAUSTED", lambda one: one["other_refusals"], None, 0),
    Target("engine", "overload: answers of health that are not SERVING", lambda one: one["not_serving"], None, 0),
    Target("engine", "lowest cosine to the reference", lambda one: one["lowest_cosine"], 0.9999),
    Target("engine", "batch to single, largest difference", lambda one: one["batch_to_single"], None, 1e-5),
)


def verdicts(engine: Mapping[str, Any]) -> list[Verdict]:
    """Compares the figures of the engine with the targets."""
    served = engine["engines"]["service"]
    overload = served["overload"]
    refused = {
        code: number for code, number in overload["outcomes"].items() if code not in {"OK", "RESOURCE_EXHAUSTED"}
    }
    figures = {
        **engine["ratios"],
        "batch_to_single": served["batch_to_single"],
        "refusals": overload["outcomes"].get("RESOURCE_EXHAUSTED", 0),
        "other_refusals": sum(refused.values()),
        "not_serving": sum(number for state, number in overload["health"].items() if state != "SERVING"),
    }
    return [target.verdict(figures) for target in TARGETS]


def markdown(figures: Mapping[str, Any]) -> str:
    """Returns the page of one run."""
    environment, engine = figures["environment"], figures["parts"]["engine"]
    page = "# Figures of the embedding service alone\n\n"
    page += ", ".join(f"{name} {value}" for name, value in environment.items()) + "\n\n"
    if figures["small"]:
        page += "A quick run on a slice of the texts: no figure here says anything about the targets.\n\n"
    else:
        rows = [
            [one.name, f"{one.value:.4g}", one.bound, "met" if one.met else "**missed**"] for one in verdicts(engine)
        ]
        page += table(["target", "measured", "bound", ""], rows)
    return page + _engines(engine) + _load(engine)


def _engines(engine: Mapping[str, Any]) -> str:
    limit, loads = engine["gemm"], list(engine["tokens"])
    rows = []
    for name, one in engine["engines"].items():
        if "failed" in one:
            rows.append([name, f"not measured: {one['failed']}"])
            continue
        rates = one["tokens_per_s"]
        ratio = f"{engine['ratios']['to_gemm'][name]:.2f}"
        rows.append([name, *(f"{rates[load]:,.0f}" for load in loads), ratio, f"{one['single_p50_ms']:.2f}"])
    head = ["engine", *(f"{load}, tokens/s" for load in loads), "titles to the GEMM limit", "single text p50 ms"]
    text = (
        f"\n## Engines\n\n{engine['texts']} titles with genres, {engine['tokens']['titles']} tokens; {engine['cores']} "
    )
    text += f"cores. GEMM limit: {limit['tokens_per_s']:,.0f} tokens/s ({limit['gflops']:.0f} GFLOP/s; "
    text += ", ".join(f"{name} {value:.0f}" for name, value in limit["engines"].items())
    text += (
        "). The service is called through gRPC by a client on the same cores; the others run in their own process.\n\n"
    )
    return text + table(head, rows)


def _load(engine: Mapping[str, Any]) -> str:
    served = engine["engines"]["service"]
    text = "\n## Service under load\n\n"
    rows = [
        ["bulk, texts/s", f"{served['peak_texts_per_s']:,.0f}"],
        ["64 callers of single texts, texts/s", f"{served['callers_texts_per_s']:,.0f}"],
        *(
            [name.replace("_", " "), value if isinstance(value, dict) else f"{value:,.1f}"]
            for name, value in served["overload"].items()
        ),
    ]
    return text + table(["", ""], rows)
