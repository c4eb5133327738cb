"""Memory of a process as Linux counts it.

Not `resource.getrusage`: its peak cannot be set back, and that of a child begins with its parent's.
"""

from __future__ import annotations

from pathlib import Path

_KB_TO_MB = 1_024 / 1e6
_SET_BACK = "5"
"""Sets VmHWM back to what is resident now: `man proc_pid_clear_refs`."""


def resident_mb(pid: int | str = "self") -> float:
    """Returns the resident memory of a process, MB."""
    return _status("VmRSS", pid)


def peak_mb(pid: int | str = "self") -> float:
    """Returns the most that was resident since the start or since `restart_peak`, MB."""
    return _status("VmHWM", pid)


def restart_peak() -> None:
    """Begins anew to note this process's peak."""
    Path("/proc/self/clear_refs").write_text(_SET_BACK)


def _status(name: str, pid: int | str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * _KB_TO_MB
