"""`python -m services.ingestion serve`: reads the settings and hands over."""

from __future__ import annotations

import argparse
import sys

from pydantic import ValidationError

from services.ingestion.bootstrap import SERVICE, build
from services.ingestion.settings import IngestionSettings
from shared.rpc.server import serve


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m services.ingestion",
        description="Keeps events and the catalogue. Settings: environment variables INGESTION_*.",
    )
    parser.add_argument("command", choices=["serve"])
    parser.parse_args(arguments)
    try:
        settings = IngestionSettings()
    except ValidationError as error:
        print(f"ingestion: {error}", file=sys.stderr)  # noqa: T201 (logs are not set up yet)
        return 2
    return serve(lambda: build(settings), settings, SERVICE)


if __name__ == "__main__":
    sys.exit(main())
