"""Becomes another program that does not outlive its parent.

Run as `python child.py PARENT_PID PROGRAM ARGS…`: asks Linux for SIGKILL when the parent dies (which holds across
exec), then turns into PROGRAM under the same process id. Not SIGTERM: nobody would be left to end a child that is slow
to stop, and what was acknowledged is on disk. A file of its own, and not a hook between fork and exec, because the
parent has threads by then. Other systems have no such wish to ask for; there it only turns into PROGRAM.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks, checks that the parent has not died meanwhile, becomes the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit("the parent is gone")
    os.execv(program[0], program)  # noqa: S606 (the program is ours: see processes.py)


if __name__ == "__main__":
    main()
