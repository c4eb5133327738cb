"""`python -m services.embedding serve`: reads the settings and hands over."""

from __future__ import annotations

import argparse
import sys

from services.embedding.bootstrap import SERVICE, build
from services.embedding.settings import EmbeddingSettings
from shared.rpc.server import serve
from shared.rpc.settings import read_settings


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code. Wrong usage or settings end it with code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m services.embedding",
        description="Turns texts into vectors. Settings: environment variables EMBEDDING_*.",
    )
    parser.add_argument("command", choices=["serve"])
    parser.parse_args(arguments)
    settings = read_settings(EmbeddingSettings)
    return serve(lambda: build(settings), settings, SERVICE)


if __name__ == "__main__":
    sys.exit(main())
