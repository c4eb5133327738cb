"""`fusionrec stats`: what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb

from shared.cli.answers import print_json
from shared.cli.console import heading, out, table
from shared.cli.session import Session, session_options

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as one JSON object.")
@session_options
def stats(session: Session, *, as_json: bool) -> None:
    """Counts of the stored events, users and items."""
    with session.services() as services:
        answer = services.call("ingestion", "GetStats", pb.GetStatsRequest())
    if as_json:
        print_json(answer)
        return
    grid = table("", "count", right=("count",))
    grid.add_row("events", f"{answer.events:,}")
    for name, count in sorted(answer.events_by_type.items(), key=lambda pair: -pair[1]):
        grid.add_row(f"  {name.removeprefix('EVENT_TYPE_').lower()}", f"{count:,}")
    grid.add_row("users", f"{answer.users:,}")
    grid.add_row("items", f"{answer.items:,}")
    grid.add_row("items in events only", f"{answer.unknown_items:,}")
    grid.add_row("events rejected since the start", f"{answer.rejected_events:,}")
    if answer.HasField("oldest_event"):
        grid.add_row("oldest event", _time(answer.oldest_event))
        grid.add_row("newest event", _time(answer.newest_event))
    console = out()
    heading(console, f"{session.addresses.address('ingestion')}, engine {answer.engine}")
    console.print(grid)


def _time(message: Timestamp) -> str:
    return f"{message.ToDatetime():%Y-%m-%d %H:%M} UTC"
