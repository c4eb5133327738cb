"""Weights under the names that KerasHub looks for.

Hugging Face folders name the same tensors in two ways: with the family's prefix ("roberta.embeddings…", saved from a
model with a head) or without it (saved from the bare encoder, as sentence-transformers does), and leave out a pooler
that was not trained. KerasHub knows one way per family. The vector does not use the pooler: zeros stand in for it.
RoBERTa's only segment has an embedding of its own, which KerasHub leaves out (not so for XLM-RoBERTa): it is added to
every position's, which is the same sum.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from services.embedding.adapters.hf_folder import CONFIG, WEIGHTS, ModelFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_PREFIX = {"distilbert": "distilbert.", "roberta": "roberta.", "albert": "albert."}
"""Families whose tensors KerasHub looks for with the prefix only."""
_POOLER = {"bert": "pooler.dense", "albert": "albert.pooler"}
"""Families whose pooler KerasHub insists on."""


@contextlib.contextmanager
def loadable(folder: ModelFolder) -> Iterator[Path]:
    """Yields a folder that KerasHub can load: the model's own, or a temporary one with the names it expects."""
    names = _names(folder)
    prefix = _PREFIX.get(folder.family, "")
    bare = bool(prefix) and not any(name.startswith(prefix) for name in names)
    pooler = _POOLER.get(folder.family)
    headless = pooler is not None and not any(name.endswith("pooler.dense.weight") for name in names)
    headless = headless and not any(name.endswith("pooler.weight") for name in names)
    if not (bare or headless or folder.family == "roberta"):
        yield folder.path
        return
    with tempfile.TemporaryDirectory(prefix="fusionrec-model-") as made:
        tensors = {(prefix + name if bare else name): value for name, value in _tensors(folder)}
        if headless and pooler is not None:
            hidden = _hidden_size(folder.path)
            tensors[f"{pooler}.weight"] = np.zeros((hidden, hidden), np.float32)
            tensors[f"{pooler}.bias"] = np.zeros(hidden, np.float32)
        if folder.family == "roberta":
            segment = tensors[f"{prefix}embeddings.token_type_embeddings.weight"][0]
            tensors[f"{prefix}embeddings.position_embeddings.weight"] += segment
        save_file(tensors, Path(made) / WEIGHTS)
        shutil.copyfile(folder.path / CONFIG, Path(made) / CONFIG)
        yield Path(made)


def _names(folder: ModelFolder) -> list[str]:
    names = []
    for file in folder.weight_files:
        with safe_open(file, framework="np") as tensors:
            names.extend(tensors.keys())
    return names


def _tensors(folder: ModelFolder) -> Iterator[tuple[str, NDArray[Any]]]:
    for file in folder.weight_files:
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (a handle, not a mapping)
                yield name, tensors.get_tensor(name)


def _hidden_size(path: Path) -> int:
    return int(json.loads((path / CONFIG).read_text())["hidden_size"])
