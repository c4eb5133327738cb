from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.ingestion.settings import IngestionSettings


def test_defaults(monkeypatch):
    for name in ("PORT", "METRICS_PORT", "STORE"):
        monkeypatch.delenv(f"INGESTION_{name}", raising=False)
    settings = IngestionSettings()
    assert (settings.host, settings.port, settings.metrics_port) == ("127.0.0.1", 50051, 51051)
    assert settings.sqlite_path == Path(".fusionrec/ingestion/events.db")


def test_a_store_from_the_environment(monkeypatch):
    monkeypatch.setenv("INGESTION_STORE", "sqlite:////data/events.db")
    assert IngestionSettings().sqlite_path == Path("/data/events.db")


@pytest.mark.parametrize("store", ["", "events.db", "sqlite:///", "postgres://x/y", "sqlite://x"])
def test_an_engine_that_is_not_known(store):
    with pytest.raises(ValidationError, match="sqlite:///RELATIVE"):
        IngestionSettings(store=store)
