"""Reports of the evaluator as tables and as one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape

from shared.cli.console import heading, table
from shared.data.splits import Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

_BEST_BY = "ndcg@10"
HEADLINE = ("ndcg@10", "precision@10", "recall@10", "recall@20", "f1@10", "mrr@10", "hit_rate@10", "coverage@10")
"""The metrics that fit into a table; the JSON has all."""


def merged(reports: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns one object: a single report as it is, several as the warm one with all under "protocols"."""
    if len(reports) == 1:
        return next(iter(reports.values()))
    return {**reports[Protocol.WARM.value], "protocols": dict(reports)}


def show(report: Mapping[str, Any], console: Console) -> None:
    """Prints a report: what was measured, on whom, how, with which versions, and the table of models."""
    protocol, k, models = report.get("protocol", "?"), report.get("k", "?"), report.get("models", {})
    _show_models(models, f"{protocol}: {report.get('users', '?')} users, k = {k}", console)
    _show_histories(models, f"ndcg@{k}", f"{protocol}: ndcg@{k} by events of history", console)
    for warning in report.get("warnings", ()):
        console.print(str(warning), markup=False, style="yellow")
    if report.get("protocol_text"):
        console.print(str(report["protocol_text"]), markup=False, style="dim")
    versions = ", ".join(f"{kind} {version}" for kind, version in dict(report.get("versions", {})).items())
    if versions:
        console.print(f"versions: {versions}", markup=False, style="dim")


def _show_histories(models: Mapping[str, Mapping[str, Any]], metric: str, title: str, console: Console) -> None:
    by_length = {
        name: {length: own[metric] for length, own in row["by_history"].items() if metric in own}
        for name, row in models.items()
        if row.get("by_history")
    }
    if by_length:
        _show_models(by_length, title, console)


def _show_models(models: Mapping[str, Mapping[str, Any]], title: str, console: Console) -> None:
    numbers = {
        name: {metric: value for metric, value in row.items() if _is_number(value)} for name, row in models.items()
    }
    measured = list(dict.fromkeys(metric for row in numbers.values() for metric in row))
    columns = [metric for metric in HEADLINE if metric in measured] or measured
    grid = table("model", *columns, right=tuple(columns))
    best = {
        column: max((row.get(column, float("-inf")) for row in numbers.values()), default=0.0) for column in columns
    }
    for name, row in sorted(numbers.items(), key=lambda pair: -pair[1].get(_BEST_BY, 0.0)):
        cells = (_cell(row.get(column), best[column]) for column in columns)
        grid.add_row(escape(name), *cells)
    heading(console, title)
    console.print(grid)


def _cell(value: float | None, best: float) -> str:
    if value is None:
        return "-"
    return f"[bold]{value:.4f}[/]" if value == best else f"{value:.4f}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
