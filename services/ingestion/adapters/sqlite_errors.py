"""What SQLite reports, as errors that may leave the service."""

from __future__ import annotations

import sqlite3

import structlog

from shared.errors import CorruptData, DependencyUnavailable

log = structlog.get_logger(__name__)

COMPONENT = "event store"


def translated(error: Exception) -> Exception:
    """Returns the domain error for an error of SQLite, which goes to the log; any other error as it is."""
    if not isinstance(error, sqlite3.Error):
        return error
    log.error("the event store failed", exc_info=error)
    if isinstance(error, sqlite3.OperationalError):
        # Disk full, read-only, locked, input or output error.
        return DependencyUnavailable(COMPONENT, "it cannot read or write now; the server's log has the reason")
    return CorruptData("the event store is damaged; the operator restores it from a backup")
