from __future__ import annotations

import pytest

from shared.testing.probe import ProbeSettings


@pytest.fixture
def settings():
    return ProbeSettings(port=0, grace_s=5.0)
