"""`fusionrec import events|items FILE`: a file into ingestion."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb

from shared.cli.console import EXIT_REJECTED_ROWS, bars, say
from shared.cli.importing.checkpoint import Checkpoint
from shared.cli.importing.columns import parse_map
from shared.cli.importing.events import EventRows
from shared.cli.importing.items import ItemRows
from shared.cli.importing.pipeline import EVENTS, ITEMS, Pipeline, resume
from shared.cli.readers import FORMATS, open_source
from shared.cli.session import Session, session_options
from shared.data.nouns import EventType

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.cli.importing.batches import Converter
    from shared.cli.importing.checkpoint import Progress
    from shared.cli.importing.pipeline import Writing
    from shared.cli.readers import Source


@click.group("import")
def import_() -> None:
    """Bring a CSV, JSONL or Parquet file into ingestion."""


def _file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path)),
        click.option("--format", "kind", type=click.Choice(FORMATS), help="[default: by the file's extension]"),
        click.option("--delimiter", help="Of a CSV file.  [default: a comma; a tab in .tsv]"),
        click.option(
            "--map", "pairs", multiple=True, metavar="OURS=THEIRS", help="Take our field from their column. Repeatable."
        ),
        click.option(
            "--rejects",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Keep every rejected row here, as JSON lines with line, reason and row.",
        ),
        session_options,
    )
    for option in reversed(options):
        command = option(command)
    return command


@import_.command()
@click.option(
    "--type",
    "default_type",
    type=click.Choice([kind.name.lower() for kind in EventType], case_sensitive=False),
    help="Type of the rows that have none.",
)
@_file_options
def events(
    session: Session,
    *,
    file: Path,
    kind: str | None,
    delimiter: str | None,
    pairs: tuple[str, ...],
    rejects: Path | None,
    default_type: str | None,
) -> int:
    """Import what users did: user_id, item_id, type, value, timestamp, text.

    Also read, where there: event_id, session_id, attribution_token, position. Types are names in any case ("rating",
    "Add to cart"). A timestamp is ISO 8601 (UTC unless it names a zone) or Unix time: seconds, or milliseconds from
    100000000000 (1e11) on. An interrupted import goes on where it stopped, and no row is stored twice. Exit code 0
    when every row is stored, 3 when some were rejected.
    """
    mapping = parse_map(pairs)
    source = open_source(file, kind, _delimiter(delimiter))
    converter = EventRows(file, source, mapping, EventType[default_type.upper()] if default_type else None)
    options: dict[str, object] = {"map": sorted(pairs), "type": default_type, "format": kind, "delimiter": delimiter}
    return _run(session, EVENTS, file, source, converter, rejects, options)


@import_.command()
@_file_options
def items(
    session: Session,
    *,
    file: Path,
    kind: str | None,
    delimiter: str | None,
    pairs: tuple[str, ...],
    rejects: Path | None,
) -> int:
    """Import the catalogue: item_id, title, text, categories, and any other column as an attribute.

    Categories are a list, or a text split at "|". Also read, where there: available_from, available_until (times as in
    `import events`). In a CSV an attribute that looks like a number is one, and so are true and false; JSONL and
    Parquet keep their types. An item that exists is replaced. Exit code 0 when every row is stored, 3 when some were
    rejected.
    """
    mapping = parse_map(pairs)
    source = open_source(file, kind, _delimiter(delimiter))
    options: dict[str, object] = {"map": sorted(pairs), "format": kind, "delimiter": delimiter}
    return _run(session, ITEMS, file, source, ItemRows(file, source, mapping), rejects, options)


def _delimiter(given: str | None) -> str | None:
    if given in {"\\t", "tab"}:
        return "\t"
    if given is not None and (len(given) != 1 or given in '"\r\n'):
        raise click.BadParameter("use one character, or tab", param_hint="--delimiter")
    return given


def _run(
    session: Session,
    writing: Writing,
    file: Path,
    source: Source,
    converter: Converter,
    rejects: Path | None,
    options: dict[str, object],
) -> int:
    if converter.ignored:
        say(f"columns that are not used: {', '.join(converter.ignored)}")
    options = {**options, "rejects": str(rejects)}
    with session.services() as services:
        # Asked first, so that a missing service is told of at once and not after the patience of the pipeline.
        services.call("ingestion", "GetStats", pb.GetStatsRequest(), timeout_s=10)
        address = session.addresses.address("ingestion")
        checkpoint = Checkpoint(session.workspace, writing.what, address, file, options)
        progress = resume(services, checkpoint)
        before, started = progress.rows, time.monotonic()
        with bars() as shown:
            progress = Pipeline(services, writing, source, file.name, shown).run(
                converter, progress, checkpoint, rejects
            )
    _summary(writing.what, progress, progress.rows - before, time.monotonic() - started, rejects)
    return EXIT_REJECTED_ROWS if progress.rejected else 0


def _summary(what: str, progress: Progress, rows: int, seconds: float, rejects: Path | None) -> None:
    say(
        f"{what}: {progress.rows:,} rows = {progress.accepted:,} accepted + {progress.duplicate:,} duplicate + "
        f"{progress.rejected:,} rejected ({rows:,} rows in {seconds:.1f} s, {rows / max(seconds, 1e-3):,.0f} rows/s)"
    )
    if progress.unknown_items:
        say(
            f"{progress.unknown_items:,} events name items that are not in the catalogue yet: "
            "they are kept, and used when the items arrive"
        )
    if progress.rejected and rejects is not None:
        say(f"the rejected rows are in {rejects}")
