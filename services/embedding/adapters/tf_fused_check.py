"""Makes the fused encoder of a folder, and takes it only when it computes what KerasHub computes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import structlog

from services.embedding.adapters.hf_weights import FUSED_FAMILIES, read_weights
from services.embedding.adapters.tf_fused import FusedEncoder

if TYPE_CHECKING:
    from services.embedding.adapters.hf_folder import ModelFolder
    from services.embedding.encoders.artifact import Head
    from services.embedding.ports import Encoder

log = structlog.get_logger(__name__)

TOLERANCE = 1e-4
"""Largest difference of any number of the unit vectors: ten times what the tests hold the graph to, of an oracle in
float64. Another layout of the tensors or another network is far off."""
_LENGTHS = (1, 7, 12, 40, 3, 25)
"""Lengths of the texts that are compared, tokens: more than one packed row."""


def fuse(
    folder: ModelFolder, layered: Encoder, head: Head | None, *, pad_id: int, batch_tokens: int
) -> FusedEncoder | None:
    """Returns the fused encoder; None where `layered` has to serve: another family, other tensors, other vectors."""
    import tensorflow as tf

    if folder.family not in FUSED_FAMILIES:
        return None
    facts = replace(layered.facts, engine=f"tensorflow {tf.__version__}", packs=True)
    try:
        weights = read_weights(folder)
        fused = FusedEncoder(weights, facts, head, pad_id=pad_id, batch_tokens=batch_tokens)
    except (KeyError, ValueError) as error:
        log.warning("the model's tensors are not those of its family; it runs on KerasHub's layers", cause=repr(error))
        return None
    random = np.random.default_rng(0)
    lengths = [min(length, facts.max_tokens) for length in _LENGTHS]
    rows = [random.integers(0, len(weights.words), length).tolist() for length in lengths]
    # A padding token inside a text is masked by some of KerasHub's layers and never occurs in a real one.
    rows = [[token if token != pad_id else pad_id + 1 for token in row] for row in rows]
    expected = layered.encode(rows)
    difference = np.abs(fused.encode(rows) - expected).max()
    # NaN fails every comparison: then the layers serve, and their warming says what is wrong.
    if not difference <= TOLERANCE:
        log.warning("the fused graph computes other vectors; the model runs on KerasHub's layers", by=float(difference))
        return None
    return fused
