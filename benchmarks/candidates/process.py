"""Memory and time of a process as Linux counts them, and the cores that it may run on.

Not `resource.getrusage`: its peak cannot be set back, and that of a child begins with its parent's.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_KB_TO_MB = 1_024 / 1e6
_SET_BACK = "5"
"""Sets VmHWM back to what is resident now: `man proc_pid_clear_refs`."""


def resident_mb(pid: int | str = "self") -> float:
    """Returns the resident memory of a process, MB."""
    return _status("VmRSS", pid)


def anonymous_mb(pid: int | str = "self") -> float:
    """Returns what of the resident memory is the process's own, MB: the rest is files mapped, which can be dropped."""
    return _status("RssAnon", pid)


def peak_mb(pid: int | str = "self") -> float:
    """Returns the most that was resident since the start or since `restart_peak`, MB."""
    return _status("VmHWM", pid)


def restart_peak() -> None:
    """Begins anew to note this process's peak."""
    Path("/proc/self/clear_refs").write_text(_SET_BACK)


def cpu_seconds(pid: int) -> float:
    """Returns the time that a process's threads ran, seconds."""
    # The second field is the program's name in parentheses; user and system time are the 14th and 15th.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def core_of_its_own(pid: int, others: Iterable[int]) -> Iterator[None]:
    """Leaves the first core to one process, and the rest to the others and to this one with what it starts meanwhile.

    With a single core all share it.
    """
    every = sorted(os.sched_getaffinity(0))
    rest = [*others, os.getpid()]
    for one in rest:
        _pin(one, every[1:] or every)
    _pin(pid, every[:1])
    try:
        yield
    finally:
        for one in (pid, *rest):
            _pin(one, every)


def _pin(pid: int, cores: Iterable[int]) -> None:
    # Each thread has cores of its own; one that is started later has those of its parent.
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), cores)


def _status(name: str, pid: int | str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * _KB_TO_MB
