"""A report for people: the protocol in words, with the numbers. Fits a terminal of 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

    from services.evaluator.reports.report import Report

SHOWN = ("ndcg@10", "precision@10", "recall@20", "f1@10", "mrr@10", "hit_rate@10", "coverage@10")
"""Columns of the table, where the report has them; the JSON has the others as well."""


def show(report: Report, console: Console) -> None:
    """Prints the table of models, best first, the protocol in words, versions and warnings."""
    title = f"{report.protocol}: {report.users} users"
    first = next(iter(report.models.values()))
    shown = [name for name in SHOWN if name in first.metrics]
    console.print(title, style="bold", markup=False, highlight=False)
    console.print(_table(report, {_stacked(name): _metric(report, name) for name in shown}))
    if first.by_history:
        lengths = {f"after {length}": _after(report, length) for length in first.by_history}
        console.print(f"\nndcg@{report.k} by events of history", style="bold", markup=False, highlight=False)
        console.print(_table(report, lengths))
    console.print()
    console.print(report.protocol_text, markup=False, highlight=False)
    versions = ", ".join(f"{kind} {version}" for kind, version in report.versions.items())
    console.print(f"Versions: {versions}. Fusion: {report.variants.get('fusion', '?')}.", markup=False, highlight=False)
    for warning in report.warnings:
        console.print(f"Warning: {warning}", style="yellow", markup=False, highlight=False)


def _table(report: Report, columns: Mapping[str, Callable[[str], float]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("model", vertical="bottom", no_wrap=True)
    for heading in columns:
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for name in report.best_first():
        table.add_row(escape(name), *(f"{value_of(name):.4f}" for value_of in columns.values()))
    return table


def _stacked(metric: str) -> str:
    name, k = metric.split("@")
    return f"{name}\n@{k}"


def _metric(report: Report, metric: str) -> Callable[[str], float]:
    return lambda model: report.models[model].metrics[metric]


def _after(report: Report, length: int) -> Callable[[str], float]:
    return lambda model: report.models[model].by_history[length][f"ndcg@{report.k}"]
