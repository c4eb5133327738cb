"""A file of settings as it holds now: read again when it changes; a broken one leaves the last good one in force."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import structlog

from shared.errors import CorruptData, FusionrecError, LimitExceeded
from shared.telemetry import metrics

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

MAX_FILE_BYTES = 1024 * 1024

Content_co = TypeVar("Content_co", covariant=True)
Content = TypeVar("Content")


class WatchedSource(Protocol[Content_co]):
    """Where such a file is."""

    def stamp(self) -> str:
        """Returns a text that changes with the file.

        Raises:
            CorruptData: it cannot be read.

        """

    def read(self) -> tuple[str, Content_co]:
        """Returns the stamp, and what the file says.

        Raises:
            CorruptData: it cannot be read.
            InvalidField, LimitExceeded: something in it is wrong; the message names the line.

        """


def file_bytes(path: Path, name: str) -> bytes:
    """Returns what is in such a file; `name` is what errors call it.

    Raises:
        CorruptData: it cannot be read.
        LimitExceeded: it is larger than `MAX_FILE_BYTES`.

    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CorruptData(f"the {name} file cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        limit = f"{MAX_FILE_BYTES} bytes"
        raise LimitExceeded("the file", f"over {limit}", limit, "split or shorten it")
    return data


class Watched(Generic[Content]):
    """`current` is what holds; `reason` says why a newer file does not, else it is empty; `version` grows with each.

    Without a source `nothing` holds. `name` is what logs and metrics call the file.

    Raises:
        FusionrecError: the first file cannot be used: there is no last good one to fall back on.

    """

    def __init__(self, source: WatchedSource[Content] | None, nothing: Content, name: str) -> None:
        self._source = source
        self._name = name
        self.current: Content = nothing
        self.reason = ""
        self.version = 0
        self._stamp = ""
        if source is not None:
            self._stamp, self.current = source.read()

    async def watch(self, poll_s: float) -> None:
        """Looks at the file every `poll_s` seconds until cancelled."""
        while self._source is not None:
            await asyncio.sleep(poll_s)
            await self.check()

    async def check(self) -> None:
        """Reads the file when it has changed."""
        source = self._source
        if source is None:
            return
        try:
            if await asyncio.to_thread(source.stamp) == self._stamp:
                # Also when a broken file was in its place meanwhile.
                self.reason = ""
                return
            self._stamp, self.current = await asyncio.to_thread(source.read)
        except FusionrecError as error:
            if error.message != self.reason:
                log.warning("a file cannot be used: what it said before holds", file=self._name, reason=error.message)
                metrics.FILES_READ.labels(self._name, "refused").inc()
            self.reason = error.message
            return
        self.reason = ""
        self.version += 1
        metrics.FILES_READ.labels(self._name, "loaded").inc()
        log.info("a file was read", file=self._name)
