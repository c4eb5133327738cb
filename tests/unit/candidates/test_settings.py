"""Settings that no training can use end the start, by name."""

from __future__ import annotations

import pytest

from services.candidates.settings import CandidatesSettings
from shared.rpc.settings import read_settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CANDIDATES_ALS__FACTORS", "1"),
        ("CANDIDATES_ALS__FACTRS", "12"),
        ("CANDIDATES_ALS__REGULARIZATION", "0"),
        ("CANDIDATES_ALS__BM25_B", "1.5"),
        ("CANDIDATES_ITEM_ITEM__REGULARIZATION", "nan"),
        ("CANDIDATES_ITEM_KNN__SIMILARITY", "pearson"),
        ("CANDIDATES_SEQUENTIAL__HALF_LIFE", "0"),
        ("CANDIDATES_ALIGNED_TEXT__MASKED_ITEMS", "-1"),
        ("CANDIDATES_TWO_TOWER__DROPOUT", "1"),
        ("CANDIDATES_INDEX__TYPE", "annoy"),
        ("CANDIDATES_INDEX__TARGET_RECALL", "1.1"),
        ("CANDIDATES_SOURCES", "als,als_tried"),
        ("CANDIDATES_DEFAULT_SOURCES", "als,magic"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(monkeypatch, capsys, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as stopped:
        read_settings(CandidatesSettings)
    assert stopped.value.code == 2
    assert f"{variable} = " in capsys.readouterr().err


def test_groups_and_lists_are_read(monkeypatch):
    monkeypatch.setenv("CANDIDATES_ALS__FACTORS", "12")
    monkeypatch.setenv("CANDIDATES_SOURCES", " als , popular ")
    settings = CandidatesSettings()
    assert settings.hyperparameters.als.factors == 12
    assert settings.trained_sources == ("als", "popular")
