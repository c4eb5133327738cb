"""The competitors' environments and runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
VENVS = HERE.parent / "results" / ".venvs"
"""Beside the results, and ignored by git."""
ENGINES = {
    "sentence-transformers": "competitors",
    "onnxruntime": "competitors",
    "onnxruntime-streams": "competitors",
    "infinity-emb": "infinity",
}
_LIMIT_S = 240
"""Of one engine: minutes on two quiet cores."""


def interpreter(requirements: str) -> Path | None:
    """Returns the Python of an environment, made when it is missing or its file changed; None where pip cannot."""
    folder, wanted = VENVS / requirements, (HERE / f"{requirements}.txt").read_text()
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"installing {requirements}.txt into {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        names = [line for line in wanted.splitlines() if line and not line.startswith("#")]
        torch = [name for name in names if name.startswith("torch==")]
        for some in (torch, names):
            # torch first and alone, so that what is there already is taken.
            command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *some]
            if subprocess.run(command, check=False).returncode:
                return None
        stamp.write_text(wanted)
    return python


def measure(engine: str, plan: dict[str, Any]) -> dict[str, Any]:
    """Returns what `rival.py` prints, or `{"failed": reason}`."""
    python = interpreter(ENGINES[engine])
    if python is None:
        return {"failed": "cannot be installed here"}
    # Nothing of this process's environment that slows another BLAS down.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS_", "OMP_", "PYTHON"))}
    try:
        done = subprocess.run(
            [python, HERE / "rival.py"],
            input=json.dumps({**plan, "engine": engine}),
            capture_output=True,
            text=True,
            env=env,
            timeout=_LIMIT_S,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        lines = str(error.stderr or "").strip().splitlines()
        return {"failed": lines[-1] if lines else type(error).__name__}
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures
