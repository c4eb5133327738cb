"""Writes docs/settings.md from the settings classes and the metric registry. --check: only compares."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.metrics import Counter, MetricWrapperBase

from shared.rpc.settings import NESTED, ServerSettings
from shared.telemetry import metrics

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "settings.md"
SERVICES = ("ingestion", "embedding", "candidates", "ranker", "evaluator")

HEAD = """# Settings and metrics

<!-- Written by scripts/gen_settings_docs.py from the settings classes. Do not edit. -->

Every service is configured by environment variables alone. A value that is not valid ends the start with exit code 2
and names the variable.
"""


def page() -> str:
    """Returns the page."""
    parts = [HEAD]
    parts.append("\n## Every service\n\nWith the service's own prefix in place of `<SVC>`.\n\n")
    common = ServerSettings.model_fields
    parts.append(_table("<SVC>_", common))
    for service in SERVICES:
        module = importlib.import_module(f"services.{service}.settings")
        settings = getattr(module, f"{service.capitalize()}Settings")
        own = {
            name: field
            for name, field in settings.model_fields.items()
            if name not in common or field.default != common[name].default
        }
        parts.append(f"\n## {service}\n\n")
        parts.append(_table(f"{service.upper()}_", own))
    parts.append(
        "\n## Metrics\n\nPrometheus, at `/metrics` on the metrics port.\n\n| name | labels | what |\n|---|---|---|\n"
    )
    parts += [_metric(one) for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    return "".join(parts)


def _table(prefix: str, fields: dict[str, FieldInfo]) -> str:
    rows: list[str] = []
    for name, field in fields.items():
        variable = f"{prefix}{name.upper()}"
        if dataclasses.is_dataclass(field.default):
            rows += _group(variable, field.default, field.description or "")
        else:
            rows.append(_row(variable, _default(field), field.description or ""))
    return "| variable | default | what |\n|---|---|---|\n" + "".join(rows)


def _group(variable: str, values: Any, group: str) -> list[str]:
    """Returns the rows of a group of settings, the fields of a dataclass and the strings below them."""
    (body,) = ast.parse(inspect.getsource(type(values))).body
    docs: dict[str, str] = {}
    for field, below in pairwise(body.body):  # type: ignore[attr-defined]  # a class has a body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            docs[field.target.id] = ast.literal_eval(below.value)
    return [
        _row(f"{variable}{NESTED}{name.upper()}", f"`{value}`" if str(value) else "empty", f"{group} {docs[name]}")
        for name, value in dataclasses.asdict(values).items()
    ]


def _row(variable: str, default: str, what: str) -> str:
    return f"| `{variable}` | {default} | {_flat(what)} |\n"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True) if field.default_factory is None else field.default_factory()  # type: ignore[call-arg]  # no factory of ours takes the data
    return f"`{value}`" if str(value) else "empty"


def _metric(metric: MetricWrapperBase) -> str:
    labels = ", ".join(f"`{name}`" for name in metric._labelnames) or "none"  # noqa: SLF001 (there is no public way)
    # The client library appends it on the wire.
    suffix = "_total" if isinstance(metric, Counter) else ""
    return f"| `{metric._name}{suffix}` | {labels} | {metric._documentation} |\n"  # noqa: SLF001


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Writes or compares the page; returns the exit code."""
    if "--check" in sys.argv[1:]:
        same = TARGET.is_file() and TARGET.read_text() == page()
        print(
            "docs/settings.md is up to date" if same else "docs/settings.md is stale: run scripts/gen_settings_docs.py"
        )
        return 0 if same else 1
    TARGET.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
