"""`python -m services.ingestion serve` and `python -m services.ingestion export --out FOLDER_OR_URL`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.ingestion.settings import IngestionSettings

USAGE, FAILED = 2, 1


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code. Wrong usage or settings end it with code 2."""
    options = _parser().parse_args(arguments)
    from services.ingestion.settings import IngestionSettings
    from shared.rpc.settings import read_settings

    settings = read_settings(IngestionSettings)
    if options.command == "export":
        return _export(settings, options)
    from services.ingestion.bootstrap import SERVICE, build
    from shared.rpc.server import serve

    return serve(lambda: build(settings), settings, SERVICE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.ingestion",
        description="Keeps events and the catalogue. Settings: environment variables INGESTION_*.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="answer calls")
    export = commands.add_parser(
        "export", help="write the log and the catalogue as Parquet; what is new since the last time, if there was one"
    )
    export.add_argument("--out", required=True, help="folder or fsspec URL (s3://bucket/prefix)")
    export.add_argument("--format", choices=["parquet"], default="parquet", help="of the files")
    export.add_argument("--progress", choices=["auto", "json"], default="auto", help="how progress is reported")
    return parser


def _export(settings: IngestionSettings, options: argparse.Namespace) -> int:
    from services.ingestion.bootstrap import export
    from services.ingestion.exporting.exporter import AnotherLog
    from services.ingestion.ports import StoreUnusable
    from shared.errors import FusionrecError
    from shared.telemetry.logs import configure_logs
    from shared.telemetry.progress import open_progress

    configure_logs("ingestion", level=settings.log_level, json_lines=settings.log_json)
    try:
        with open_progress(options.progress, sys.stderr) as progress:
            manifest = export(settings, options.out, progress)
    except (StoreUnusable, AnotherLog) as error:
        return _refuse(str(error), USAGE)
    except FusionrecError as error:
        return _refuse(error.message, FAILED)
    except OSError as error:
        return _refuse(f"cannot write to {options.out}: {error}", FAILED)
    sys.stdout.write(
        f"{options.out} events={manifest.events} items={manifest.items} files={len(manifest.parts)} "
        f"sequence={manifest.sequence}\n"
    )
    return 0


def _refuse(message: str, code: int) -> int:
    sys.stderr.write(f"ingestion: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
