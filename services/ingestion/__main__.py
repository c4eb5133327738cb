"""`python -m services.ingestion serve`: reads the settings and hands over."""

from __future__ import annotations

import argparse
import sys

from services.ingestion.bootstrap import SERVICE, build
from services.ingestion.settings import IngestionSettings
from shared.rpc.server import serve
from shared.rpc.settings import read_settings


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code. Wrong usage or settings end it with code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m services.ingestion",
        description="Keeps events and the catalogue. Settings: environment variables INGESTION_*.",
    )
    parser.add_argument("command", choices=["serve"])
    parser.parse_args(arguments)
    settings = read_settings(IngestionSettings)
    return serve(lambda: build(settings), settings, SERVICE)


if __name__ == "__main__":
    sys.exit(main())
