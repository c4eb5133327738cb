"""`python -m services.evaluator serve` answers calls; `run --protocol P` measures the running services."""
# ruff: noqa: T201 (a command speaks to whoever called it)

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from services.evaluator.bootstrap import build, build_reports, experiments_of, open_job
from services.evaluator.reports.show import show
from services.evaluator.settings import EvaluatorSettings
from shared.data.splits import Protocol
from shared.errors import FusionrecError, ModelNotReady, NotFound
from shared.rpc.server import serve
from shared.rpc.settings import WRONG_SETTINGS, read_settings
from shared.telemetry.logs import configure_logs
from shared.telemetry.progress import open_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.evaluator.reports.report import Report

EXIT_FAILED = 1
EXIT_NOTHING_TO_MEASURE = 2
EXIT_INTERRUPTED = 130
ALL = "all"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 nothing to measure yet; wrong usage or settings end it with 2."""
    parsed = _parser().parse_args(arguments)
    settings = read_settings(EvaluatorSettings)
    if parsed.command == "serve":
        try:
            experiments_of(settings)
        except FusionrecError as error:
            print(f"evaluator: {error.message}", file=sys.stderr)
            return WRONG_SETTINGS
        return serve(lambda: build(settings), settings, "evaluator")
    configure_logs("evaluator", level=settings.log_level, json_lines=settings.log_json)
    try:
        report = asyncio.run(_run(settings, parsed))
    except (ModelNotReady, NotFound) as error:
        print(f"evaluator: {error.message}", file=sys.stderr)
        return EXIT_NOTHING_TO_MEASURE
    except FusionrecError as error:
        print(f"evaluator: {error.message}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("evaluator: interrupted; nothing was published", file=sys.stderr)
        return EXIT_INTERRUPTED
    if parsed.json:
        print(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        show(report, Console())
    return 0


async def _run(settings: EvaluatorSettings, parsed: argparse.Namespace) -> Report:
    with open_progress(parsed.progress, sys.stderr) as progress:
        async with open_job(settings, progress) as job:
            report = await job.run(Protocol(parsed.protocol), all_variants=parsed.variants == ALL)
    await build_reports(settings).publish(report)
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.evaluator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="answer EvaluateRankings, AssignVariant, ListReports and GetReport")
    run = commands.add_parser("run", help="measure the running services and store a report")
    run.add_argument("--protocol", choices=[str(one) for one in Protocol], default=str(Protocol.WARM))
    run.add_argument("--variants", choices=[ALL, "default"], default=ALL, help="which fusions to measure")
    run.add_argument("--json", action="store_true", help="print the report as one JSON object, nothing else")
    run.add_argument("--progress", choices=["auto", "json"], default="auto", help="on standard error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
