from __future__ import annotations

import pytest

from services.embedding.adapters.keras_bert import KerasModelLoader
from shared.testing.tiny_encoder import write_tiny_encoder

VARIANTS = {
    "bert": {"family": "bert"},
    "bert-bare-headless": {"family": "bert", "prefixed": False, "pooler": False},
    "distilbert": {"family": "distilbert"},
    "roberta": {"family": "roberta"},
    "roberta-bare": {"family": "roberta", "prefixed": False},
    "xlm-roberta": {"family": "xlm-roberta"},
}


@pytest.fixture(scope="module", params=VARIANTS)
def tiny(request, tmp_path_factory):
    """A folder of each served kind, and the model loaded from it; one compiled shape, so that both paths run."""
    folder = write_tiny_encoder(tmp_path_factory.mktemp(request.param), **VARIANTS[request.param])
    loader = KerasModelLoader(str(folder), max_tokens=256, shapes=((4, 8),), threads=0)
    return folder, VARIANTS[request.param]["family"], loader.load(lambda: None)
