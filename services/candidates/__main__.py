"""`python -m services.candidates serve`, `python -m services.candidates train --protocol warm`, and `rollback`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from shared.artifacts.rollback_command import COMMAND, add_rollback, run_rollback
from shared.data.splits import Protocol

if TYPE_CHECKING:
    from services.candidates.settings import CandidatesSettings
    from shared.artifacts import Manifest

NO_DATA = 2
"""Exit code of a training without data."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code. Wrong usage or settings end it with code 2."""
    options = _parser().parse_args(arguments)
    from services.candidates.settings import CandidatesSettings
    from shared.rpc.settings import read_settings

    settings = read_settings(CandidatesSettings)
    if options.command == "serve":
        from services.candidates.bootstrap import build
        from shared.rpc.server import serve

        return serve(lambda: build(settings), settings, "candidates")
    if options.command == COMMAND:
        return run_rollback("candidates", lambda: _roll_back(settings, options.version))
    return _train(settings, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.candidates", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="answer calls; settings from CANDIDATES_… environment variables")
    train = commands.add_parser("train", help="train all sources on the log and publish them")
    train.add_argument("--protocol", required=True, choices=[one.value for one in Protocol])
    train.add_argument("--stages", default="", help="stages to train, comma separated; all of the protocol's if empty")
    train.add_argument(
        "--events",
        default="",
        help="folder or URL of an export (python -m services.ingestion export), read in place of the log",
    )
    train.add_argument(
        "--engine",
        choices=["process", "spark"],
        default="process",
        help="what fits the matrix factorisation; spark (docs/spark.md) needs --events",
    )
    train.add_argument("--progress", choices=["auto", "json"], default="auto", help="how progress is reported")
    add_rollback(commands)
    return parser


def _roll_back(settings: CandidatesSettings, version: str) -> tuple[str, Manifest]:
    from services.candidates.bootstrap import roll_back_to

    return roll_back_to(settings, version)


def _train(settings: CandidatesSettings, options: argparse.Namespace) -> int:
    import asyncio

    from services.candidates.bootstrap import train, train_on_spark
    from services.candidates.training.job import NothingToLearn
    from services.candidates.training.plan import stages_of
    from shared.errors import FusionrecError
    from shared.telemetry.logs import configure_logs
    from shared.telemetry.progress import open_progress

    configure_logs("candidates", level=settings.log_level, json_lines=settings.log_json)
    protocol = Protocol(options.protocol)
    valid = {stage.value: stage for stage in stages_of(protocol)}
    asked = [name for name in options.stages.split(",") if name] or list(valid)
    unknown = [name for name in asked if name not in valid]
    if unknown:
        return _refuse(f"protocol {protocol} has no stage {unknown[0]}: use {', '.join(valid)}", NO_DATA)
    if options.engine == "spark" and not options.events:
        return _refuse("the engine spark reads an export: name it with --events (docs/spark.md)", NO_DATA)
    try:
        with open_progress(options.progress, sys.stderr) as progress:
            stages = [valid[name] for name in asked]
            if options.engine == "spark":
                manifests = asyncio.run(train_on_spark(settings, protocol, stages, progress, options.events))
            else:
                manifests = asyncio.run(train(settings, protocol, stages, progress, options.events))
    except NothingToLearn as error:
        return _refuse(str(error), NO_DATA)
    except FusionrecError as error:
        return _refuse(error.message, 1)
    for manifest in manifests:
        sys.stdout.write(f"{manifest.version} {' '.join(f'{k}={v}' for k, v in manifest.labels.items())}\n")
    return 0


def _refuse(message: str, code: int) -> int:
    sys.stderr.write(f"candidates: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
