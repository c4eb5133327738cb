"""Rows gathered into requests, the rows that never make it into one beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from shared.cli.importing.rejects import Reject
from shared.cli.importing.values import BadValue
from shared.cli.readers import BadRow
from shared.data.limits import MAX_MESSAGE_BYTES, MAX_WRITE_BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from shared.cli.readers import Row, Source

MAX_BATCH_BYTES = MAX_MESSAGE_BYTES // 4


class Converter(Protocol):
    """Turns rows into messages; `ignored` are columns that it has no use for."""

    ignored: tuple[str, ...]

    def convert(self, row: Row) -> Message:
        """Returns the message of a row.

        Raises:
            BadValue: a value cannot be understood.

        """


@dataclass
class Batch:
    """Consecutive rows: those that are sent, with their messages, and those that are rejected before that."""

    messages: list[Any] = field(default_factory=list)
    sent: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    position: int = 0
    bytes: int = 0

    @property
    def rows(self) -> int:
        """All rows of the batch."""
        return len(self.sent) + len(self.rejects)

    def add(self, row: Row | BadRow, converter: Converter) -> None:
        """Adds one row."""
        self.position = row.position
        if isinstance(row, BadRow):
            self.rejects.append(Reject(row.line, row.reason, row.raw))
            return
        try:
            message = converter.convert(row)
        except BadValue as bad:
            self.rejects.append(Reject(row.line, str(bad), dict(row.values)))
            return
        self.messages.append(message)
        self.sent.append(row)
        self.bytes += message.ByteSize()

    @property
    def full(self) -> bool:
        """True when it should be sent."""
        return self.rows >= MAX_WRITE_BATCH or self.bytes >= MAX_BATCH_BYTES


def batches(source: Source, converter: Converter, *, skip: int) -> Iterator[Batch]:
    """Yields the rows of a file in batches, the first `skip` rows left out."""
    batch = Batch()
    for row in islice(source.rows(), skip, None):
        batch.add(row, converter)
        if batch.full:
            yield batch
            batch = Batch()
    if batch.rows:
        yield batch
