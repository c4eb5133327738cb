"""`python -m services.embedding serve`: reads the settings and hands over."""

from __future__ import annotations

import argparse
import sys

from pydantic import ValidationError

from services.embedding.bootstrap import SERVICE, build
from services.embedding.settings import EmbeddingSettings
from shared.rpc.server import serve


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m services.embedding",
        description="Turns texts into vectors. Settings: environment variables EMBEDDING_*.",
    )
    parser.add_argument("command", choices=["serve"])
    parser.parse_args(arguments)
    try:
        settings = EmbeddingSettings()
    except ValidationError as error:
        print(f"embedding: {error}", file=sys.stderr)  # noqa: T201 (logs are not set up yet)
        return 2
    return serve(lambda: build(settings), settings, SERVICE)


if __name__ == "__main__":
    sys.exit(main())
