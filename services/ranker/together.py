"""Several pieces of work at once: when one fails, the others end with it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable
    from typing import Any

T = TypeVar("T")


@asynccontextmanager
async def ending_together() -> AsyncIterator[asyncio.TaskGroup]:
    """Gives a task group; raises what the first task that fails raises, as it is, after the others were cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        # Callers wait for the errors of the domain, not for a group of them.
        raise failures.exceptions[0] from failures.exceptions[0].__cause__


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Returns the results of `works`, in order; raises as `ending_together`."""
    async with ending_together() as group:
        tasks = [group.create_task(work) for work in works]
    return [task.result() for task in tasks]
