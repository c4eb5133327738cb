"""`python -m services.embedding serve`, `train --method full|lora|head` on what people liked, and `rollback`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from shared.artifacts.rollback_command import COMMAND, add_rollback, run_rollback
from shared.data.splits import Protocol, Stage

if TYPE_CHECKING:
    from services.embedding.bootstrap_training import Wanted
    from services.embedding.settings import EmbeddingSettings
    from shared.artifacts import Manifest

EXIT_FAILED = 1
EXIT_NO_DATA = 2
EXIT_NOT_BETTER = 3
EXIT_INTERRUPTED = 130
_OPTIONS = ("epochs", "batch", "learning_rate", "rank", "temperature", "seed", "max_minutes", "objective", "distill")
"""Options of the command line that stand for a field of `FinetuneParameters`."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 nothing to learn from, 3 no better than the base, 130 interrupted.

    Wrong usage or settings end it with code 2.
    """
    options = _parser().parse_args(arguments)
    from services.embedding.settings import EmbeddingSettings
    from shared.rpc.settings import read_settings

    settings = read_settings(EmbeddingSettings)
    if options.command == "serve":
        from services.embedding.bootstrap import SERVICE, build
        from shared.rpc.server import serve

        return serve(lambda: build(settings), settings, SERVICE)
    if options.command == COMMAND:
        return run_rollback("embedding", lambda: _roll_back(settings, options.version))
    return _train(settings, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.embedding",
        description="Turns texts into vectors. Settings: environment variables EMBEDDING_*.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="answer calls")
    train = commands.add_parser("train", help="train an encoder on the log and publish it (docs/fine-tuning.md)")
    train.add_argument("--encoder", choices=["bert", "bow", "tfidf", "word2vec"], default="bert")
    train.add_argument("--method", choices=["full", "lora", "head"], default="head", help="how much of bert learns")
    train.add_argument("--protocol", choices=[one.value for one in Protocol], default=Protocol.WARM.value)
    train.add_argument(
        "--stage",
        choices=[Stage.TEST.value, Stage.SERVING.value],
        help="serving sees everything and becomes CURRENT (default of warm); test sees what its protocol shows",
    )
    train.add_argument("--domain-pretrain", action="store_true", help="guess hidden words of the catalogue first")
    train.add_argument("--sessions", action="store_true", help="word2vec: learn from what users liked, not from texts")
    train.add_argument("--always", action="store_true", help="publish what is not better than the base, too")
    train.add_argument("--objective", choices=["history", "pairs"], help="what is brought near a liked item")
    train.add_argument("--epochs", type=float, help="passes over the liked items at most")
    train.add_argument("--batch", type=int, help="items of a step")
    train.add_argument("--learning-rate", type=float, help="largest learning rate")
    train.add_argument("--rank", type=int, help="of LoRA")
    train.add_argument("--temperature", type=float, help="of the contrastive loss")
    train.add_argument("--distill", type=float, help="weight of keeping what the words say")
    train.add_argument("--max-minutes", type=float, help="end after this time with the best there is")
    train.add_argument("--seed", type=int, help="of everything random")
    train.add_argument("--tensorboard", default="", help="folder of the curves; else under EMBEDDING_TRAINING_FOLDER")
    train.add_argument("--progress", choices=["auto", "json"], default="auto", help="how progress is reported")
    add_rollback(commands)
    return parser


def _roll_back(settings: EmbeddingSettings, version: str) -> tuple[str, Manifest]:
    from services.embedding.encoders.artifact import ARTIFACT_KIND
    from shared.artifacts import ArtifactStore
    from shared.artifacts.rollback import roll_back
    from shared.errors import ModelNotReady

    if not settings.artifacts:
        raise ModelNotReady("EMBEDDING_ARTIFACTS is empty: the model of EMBEDDING_MODEL is served, and no other one")
    return roll_back(ArtifactStore(settings.artifacts), ARTIFACT_KIND, version)


def _train(settings: EmbeddingSettings, options: argparse.Namespace) -> int:
    from services.embedding.bootstrap_training import train
    from shared.telemetry.logs import configure_logs
    from shared.telemetry.progress import open_progress

    configure_logs("embedding", level=settings.log_level, json_lines=settings.log_json)
    try:
        wanted = _wanted(settings, options)
    except ValueError as error:
        return _refuse(str(error), EXIT_NO_DATA)
    try:
        with open_progress(options.progress, sys.stderr) as progress:
            manifest = train(settings, wanted, progress)
    except KeyboardInterrupt:
        return _refuse("interrupted; the same command goes on from the last checkpoint", EXIT_INTERRUPTED)
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        return _refuse(str(error), code)
    words = (*manifest.labels.items(), *((name, f"{value:.4g}") for name, value in manifest.metrics.items()))
    sys.stdout.write(f"{manifest.version} {' '.join(f'{name}={value}' for name, value in words)}\n")
    return 0


def _exit_code(error: Exception) -> int | None:
    """Returns the exit code of a failure that is told in one sentence; None of a defect."""
    from services.embedding.encoders.model import ModelUnusable
    from services.embedding.training.corpus import NothingToLearn
    from services.embedding.training.job import NotBetter
    from shared.errors import FusionrecError

    codes: dict[type[Exception], int] = {NothingToLearn: EXIT_NO_DATA, NotBetter: EXIT_NOT_BETTER}
    codes |= dict.fromkeys((ModelUnusable, FusionrecError), EXIT_FAILED)
    return next((code for kind, code in codes.items() if isinstance(error, kind)), None)


def _wanted(settings: EmbeddingSettings, options: argparse.Namespace) -> Wanted:
    """Returns what the command line says, on top of the settings.

    Raises:
        ValueError: nowhere to publish, options that do not go together, or out of their range; the message says which.

    """
    from pydantic import TypeAdapter, ValidationError

    from services.embedding.bootstrap_training import Wanted
    from services.embedding.training.parameters import FinetuneParameters, Method

    protocol = Protocol(options.protocol)
    default = Stage.SERVING if protocol is Protocol.WARM else Stage.TEST
    stage = Stage(options.stage) if options.stage else default
    if stage is Stage.SERVING and protocol is not Protocol.WARM:
        raise ValueError(f"protocol {protocol} has no stage serving: it only measures; use --protocol warm")
    if not settings.artifacts:
        raise ValueError("EMBEDDING_ARTIFACTS is empty: say where the trained encoder is to be published")
    if options.sessions and options.encoder != "word2vec":
        raise ValueError("--sessions is for --encoder word2vec")
    adapter = TypeAdapter(FinetuneParameters)
    given = {name: getattr(options, name) for name in _OPTIONS if getattr(options, name) is not None}
    try:
        parameters = adapter.validate_python({**adapter.dump_python(settings.finetune), **given})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise ValueError(f"--{name} = {first['input']}: {first['msg']}") from error
    method = Method(options.method)
    return Wanted(
        encoder=options.encoder,
        method=method,
        protocol=protocol,
        stage=stage,
        parameters=parameters,
        domain_pretrain=options.domain_pretrain,
        sessions=options.sessions,
        always=options.always,
        tensorboard=options.tensorboard,
    )


def _refuse(message: str, code: int) -> int:
    sys.stderr.write(f"embedding: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
