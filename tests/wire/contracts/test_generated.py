"""What is generated is what the contracts say now: code, pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import Reason

ROOT = Path(__file__).resolve().parents[3]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_the_generated_code_is_up_to_date():
    done = run("scripts/gen_protos.sh", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_on_errors_is_up_to_date():
    done = run(sys.executable, "scripts/gen_error_docs.py", "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.name)
def test_every_reason_is_documented(reason):
    rows = [line for line in (ROOT / "docs" / "errors.md").read_text().splitlines() if line.startswith("| `")]
    assert len([row for row in rows if row.startswith(f"| `{reason.name}` |")]) == 1
