"""What is slow to import is imported by those who need it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shared.testing.processes import ROOT

SERVING = "import services.candidates.bootstrap"
TRAINING = "import services.candidates.bootstrap, services.candidates.training.job"


@pytest.mark.parametrize(("imported", "unneeded"), [(SERVING, "scipy"), (TRAINING, "faiss"), (TRAINING, "implicit")])
def test_unneeded_libraries_are_not_imported(imported, unneeded):
    command = f"{imported}; import sys; print({unneeded!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
