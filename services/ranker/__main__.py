"""`python -m services.ranker serve`, `python -m services.ranker train --protocol warm`, and `rollback`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

# Read when numpy is imported. Calls are answered side by side; BLAS threads inside of each would wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from shared.artifacts.rollback_command import COMMAND, add_rollback, run_rollback
from shared.data.splits import Protocol

if TYPE_CHECKING:
    from services.ranker.settings import RankerSettings
    from shared.artifacts import Manifest

TO_DO_FIRST = 2
"""Exit code of a training that needs something else to be done before; the message says what."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code. Wrong usage or settings end it with code 2."""
    options = _parser().parse_args(arguments)
    from services.ranker.settings import RankerSettings
    from shared.rpc.settings import read_settings

    settings = read_settings(RankerSettings)
    if options.command == "serve":
        from services.ranker.bootstrap import RankerApp, check_files
        from shared.errors import FusionrecError
        from shared.rpc.server import serve
        from shared.rpc.settings import WRONG_SETTINGS

        try:
            check_files(settings)
        except FusionrecError as error:
            sys.stderr.write(f"ranker: {error.message}\n")
            return WRONG_SETTINGS
        return serve(lambda: RankerApp(settings), settings, "ranker")
    if options.command == COMMAND:
        return run_rollback("ranker", lambda: _roll_back(settings, options.version))
    return _train(settings, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.ranker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="answer calls; settings from RANKER_… environment variables")
    train = commands.add_parser("train", help="train the fusion models and publish them")
    train.add_argument("--protocol", required=True, choices=[one.value for one in Protocol])
    train.add_argument("--fusion", default="", help="fusion models to train, comma separated; RANKER_FUSIONS if empty")
    train.add_argument(
        "--warm-start",
        action="store_true",
        help="go on from the published version, with the lists of users who did something since, instead of anew",
    )
    train.add_argument("--tensorboard", default="", metavar="FOLDER", help="write what TensorBoard shows of deep")
    train.add_argument("--progress", choices=["auto", "json"], default="auto", help="how progress is reported")
    add_rollback(commands)
    return parser


def _roll_back(settings: RankerSettings, version: str) -> tuple[str, Manifest]:
    from services.ranker.models.model import KIND, load_model
    from shared.artifacts import ArtifactStore
    from shared.artifacts.rollback import roll_back

    # Another feature registry, or a file that cannot be read, is told here and not by a server that stays as it is.
    store = ArtifactStore(settings.artifacts)
    return roll_back(store, KIND, version, check=lambda loaded: load_model(loaded, settings.preferences))


def _train(settings: RankerSettings, options: argparse.Namespace) -> int:
    import asyncio

    from services.ranker.bootstrap_training import train
    from services.ranker.fusion.base import FitContext
    from services.ranker.settings import names_in
    from shared.errors import FusionrecError, ModelNotReady, NotFound
    from shared.telemetry.logs import configure_logs
    from shared.telemetry.progress import open_progress

    configure_logs("ranker", level=settings.log_level, json_lines=settings.log_json)
    fusions = names_in(options.fusion or settings.fusions)
    try:
        with open_progress(options.progress, sys.stderr) as progress:
            context = FitContext(
                progress,
                folder=Path(settings.checkpoints) if settings.checkpoints else None,
                tensorboard=Path(options.tensorboard) if options.tensorboard else None,
                threads=settings.training_threads,
            )
            protocol, warm = Protocol(options.protocol), options.warm_start
            manifests = asyncio.run(train(settings, protocol, fusions, context, warm_start=warm))
    except FusionrecError as error:
        sys.stderr.write(f"ranker: {error.message}\n")
        return TO_DO_FIRST if isinstance(error, ModelNotReady | NotFound) else 1
    for manifest in manifests:
        labels = " ".join(f"{name}={value}" for name, value in manifest.labels.items())
        numbers = " ".join(f"{name.replace(' ', '_')}={value:.4f}" for name, value in manifest.metrics.items())
        sys.stdout.write(f"{manifest.version} {labels} {numbers}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
