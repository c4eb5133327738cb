"""Figures as Markdown."""

from __future__ import annotations

from typing import Any


def markdown(figures: dict[str, Any]) -> str:
    """Returns the page of one run."""
    environment = figures["environment"]
    parts = [
        "# Figures of one run\n\n",
        ", ".join(f"{name} {value}" for name, value in environment.items()),
        f"\n\nImport {figures['seconds']['import']} s, train (warm) {figures['seconds']['train']} s.\n",
    ]
    protocols = {"warm": figures["quality"], **figures["quality"].get("protocols", {})}
    parts += [_quality(name, one) for name, one in protocols.items()]
    parts.append(_latency(figures["latency"]))
    parts.append(_freshness(figures["freshness"]))
    return "".join(parts)


def _quality(name: str, report: dict[str, Any]) -> str:
    lengths = list(report["models"]["fusion"].get("by_history", {}))
    names = ["ndcg@10", "precision@10", "recall@20", "hit_rate@10", "mrr@10", "coverage@10"]
    head = ["model", *names, *(f"ndcg@10 after {length}" for length in lengths)]
    lines = [f"\n## {name}: {report['users']} users\n\n", _row(head), _row(["---"] * len(head))]
    for model, metrics in sorted(report["models"].items(), key=lambda one: -one[1]["ndcg@10"]):
        cells = [f"{metrics[metric]:.4f}" if metric in metrics else "" for metric in names]
        cells += [f"{metrics['by_history'][length]['ndcg@10']:.4f}" for length in lengths]
        lines.append(_row([model, *cells]))
    return "".join([*lines, f"\n{report['protocol_text']}\n"])


def _latency(latency: dict[str, Any]) -> str:
    head = [
        "load",
        "echo calls/s",
        "Recommend calls/s",
        "ratio",
        "echo p50 ms",
        "Recommend p50 ms",
        "p99 ms",
        "ratio p50",
    ]
    lines = ["\n## Recommend (k = 20) against a bare echo, same run\n\n", _row(head), _row(["---"] * len(head))]
    for load, echo in latency["echo"].items():
        own, ratio = latency["recommend"]["closed_loop"][load], latency["recommend_to_echo"][load]
        cells = [echo["calls_per_s"], own["calls_per_s"], ratio["calls_per_s"]]
        cells += [echo["p50_ms"], own["p50_ms"], own["p99_ms"], ratio["p50"]]
        lines.append(_row([load, *(str(cell) for cell in cells)]))
    opened = latency["recommend"]["open_loop_at_half_capacity"]
    lines.append(
        f"\nOpen loop at half of that: {opened}\n\nStages, p50 in µs: {latency['recommend']['stage_p50_us']}\n"
    )
    return "".join(lines)


def _freshness(fresh: dict[str, Any]) -> str:
    event, item = fresh["event_s"], fresh["item_s"]
    return (
        "\n## Freshness\n\n"
        f"From the reply of WriteEvents to a changed Recommend: median {event['median']:.3f} s, worst "
        f"{event['worst']:.3f} s.\n\nFrom the reply of UpsertItems (a title, nothing else) to the item among the 20 of "
        f"a fitting user: {item['found']} of {item['asked']} items, median {item['median']:.3f} s, worst "
        f"{item['worst']:.3f} s: {fresh['items']}\n"
    )


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"
