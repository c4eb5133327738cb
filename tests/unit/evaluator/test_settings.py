"""Settings: read from the environment, refused when they make no sense."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.evaluator.settings import EvaluatorSettings


def test_defaults_are_those_of_the_architecture():
    settings = EvaluatorSettings()
    assert (settings.port, settings.metrics_port) == (50055, 51055)
    assert settings.ingestion_address == "127.0.0.1:50051"
    assert settings.candidates_address == "127.0.0.1:50053"
    assert settings.ranker_address == "127.0.0.1:50054"
    assert settings.artifacts == ".fusionrec/evaluator/artifacts"


def test_the_environment_decides(monkeypatch):
    monkeypatch.setenv("EVALUATOR_KS", "[50, 10, 5, 10]")
    monkeypatch.setenv("EVALUATOR_POSITIVE_RATING", "3.5")
    monkeypatch.setenv("EVALUATOR_RANKER_ADDRESS", "dns:///ranker:50054")
    settings = EvaluatorSettings()
    assert settings.ks == (5, 10, 50)
    assert settings.rules.positive_rating == 3.5
    assert settings.ranker_address == "dns:///ranker:50054"


@pytest.mark.parametrize("ks", [(), (5, 20), (0, 10), (10, 10_001)])
def test_cut_offs_without_10_or_out_of_range_are_refused(ks):
    with pytest.raises(ValidationError, match="ks"):
        EvaluatorSettings(ks=ks)


def test_settings_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        EvaluatorSettings().seed = 1
