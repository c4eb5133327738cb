"""A model folder in Hugging Face layout: found, checked and fingerprinted before any engine is started.

Everything here takes milliseconds to tenths of a second, so that a wrong folder is reported at once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from services.embedding.encoders.model import ModelUnusable

FAMILIES = ("bert", "distilbert", "roberta", "xlm-roberta", "albert")
"""Values of `model_type` that are served: encoders whose last layer gives one vector per token."""

ACTIVATIONS = {name: ("gelu_new",) if name == "albert" else ("gelu",) for name in FAMILIES}
"""What KerasHub computes per family, whatever the configuration says: another one would give wrong vectors."""

PACKAGE_PREFIX = "package:"
_BLOCK = 1 << 20
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model")
TOKENIZER_EXTRAS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class ModelFolder:
    """A folder that holds an encoder of a served family, whole weights and a tokenizer."""

    path: Path
    family: str
    weight_files: tuple[Path, ...]
    weights_sha256: str
    """SHA-256 over the weight files, in the order of their names, hex."""
    fingerprint: str
    """SHA-256 over everything that decides a text's vector: weights, configuration, tokenizer files. Hex."""


def open_folder(model: str) -> ModelFolder:
    """Returns the checked folder of the setting `model`.

    Raises:
        ModelUnusable: not there, not a served family, damaged weights, no tokenizer.

    """
    path = _locate(model)
    config = _config(path)
    family = config.get("model_type")
    if family not in FAMILIES:
        raise ModelUnusable(f"model_type {family!r} in {CONFIG} is not served; served are {', '.join(FAMILIES)}")
    activation = config.get("hidden_act", config.get("activation", "gelu"))
    if activation not in ACTIVATIONS[family]:
        raise ModelUnusable(f"activation {activation!r} in {CONFIG} is not served for {family}")
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise ModelUnusable(f"the model folder has no tokenizer: none of {', '.join(TOKENIZER_FILES)}")
    weights = _weight_files(path)
    for file in weights:
        _check_weights(file)
    weights_sha256 = _sha256(weights)
    rest = [path / name for name in (CONFIG, *TOKENIZER_FILES, *TOKENIZER_EXTRAS) if (path / name).is_file()]
    fingerprint = hashlib.sha256(f"{weights_sha256} {_sha256(rest)}".encode()).hexdigest()
    return ModelFolder(path, str(family), tuple(weights), weights_sha256, fingerprint)


def _locate(model: str) -> Path:
    if not model.startswith(PACKAGE_PREFIX):
        path = Path(model).expanduser()
        if not path.is_dir():
            raise ModelUnusable("the model folder of EMBEDDING_MODEL does not exist")
        return path
    name = model.removeprefix(PACKAGE_PREFIX)
    # Found, not imported: such packages import whole training frameworks.
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnusable(f"the Python package {name!r} of EMBEDDING_MODEL is not installed")
    path = Path(spec.submodule_search_locations[0]) / "model"
    if not path.is_dir():
        raise ModelUnusable(f"the Python package {name!r} has no folder model/")
    return path


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads((path / CONFIG).read_text())
    except OSError as error:
        raise ModelUnusable(f"the model folder has no readable {CONFIG}") from error
    except ValueError as error:
        raise ModelUnusable(f"{CONFIG} of the model is not valid JSON") from error
    if not isinstance(config, dict):
        raise ModelUnusable(f"{CONFIG} of the model is not a JSON object")
    return config


def _weight_files(path: Path) -> list[Path]:
    index = path / WEIGHTS_INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelUnusable(f"{WEIGHTS_INDEX} is damaged") from error
    else:
        names = [WEIGHTS]
    files = [path / str(name) for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelUnusable(f"the model folder has no weights: {', '.join(missing)} missing (safetensors needed)")
    return files


def _check_weights(file: Path) -> None:
    try:
        # The header names every tensor's place: a cut file does not fit it.
        with safe_open(file, framework="np") as tensors:
            names = list(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise ModelUnusable(f"the weights in {file.name} are damaged or cut short") from error
    if not names:
        raise ModelUnusable(f"{file.name} holds no weights")


def _sha256(files: list[Path]) -> str:
    """Returns what `cat FILES | sha256sum` says."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
