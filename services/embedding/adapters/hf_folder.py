"""A model folder in Hugging Face layout: found, checked and fingerprinted before any engine is started.

Everything here takes milliseconds to tenths of a second, so that a wrong folder is reported at once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from services.embedding.encoders.model import ModelUnusable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ENCODERS = ("bert", "distilbert", "roberta", "xlm-roberta", "albert")
"""Values of `model_type` of the kind bert: each token is read with those on both sides of it."""
DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma")
"""Values of `model_type` of the kind gpt: each token is read with those before it."""
FAMILIES = (*ENCODERS, *DECODERS)
"""Values of `model_type` that are served: the last layer gives one vector per token."""

_GELU_TANH = ("gelu_new", "gelu_pytorch_tanh")
ACTIVATIONS = {
    **dict.fromkeys(ENCODERS, ("gelu",)),
    **dict.fromkeys(DECODERS, ("silu",)),
    "albert": ("gelu_new",),
    "gpt2": _GELU_TANH,
    "gemma": (*_GELU_TANH, "gelu"),
}
"""What KerasHub computes per family, whatever the configuration says: another one would give wrong vectors. The
reference implementation of Gemma takes "gelu" for the approximation, too."""
_ACTIVATION_FIELDS = ("hidden_activation", "hidden_act", "activation_function", "activation")

PACKAGE_PREFIX = "package:"
_BLOCK = 1 << 20
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)
TOKENIZER_EXTRAS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class ModelFolder:
    """A folder that holds an encoder of a served family, whole weights and a tokenizer."""

    path: Path
    family: str
    weight_files: tuple[Path, ...]
    weights_sha256: str
    """SHA-256 over the weight files, in the order of their names, hex."""
    config: Mapping[str, Any]
    """What config.json says."""
    fingerprint: str
    """SHA-256 over everything that decides a text's vector: weights, configuration, tokenizer files. Hex."""


def open_folder(model: str, families: Collection[str] = ENCODERS) -> ModelFolder:
    """Returns the checked folder of the setting `model`, of one of these families.

    Raises:
        ModelUnusable: not there, not a served family, damaged weights, no tokenizer.

    """
    path = locate(model)
    config = read_config(path)
    family = config.get("model_type")
    if not isinstance(family, str) or family not in families:
        raise ModelUnusable(f"model_type {family!r} in {CONFIG} is not served; served are {', '.join(families)}")
    default = ACTIVATIONS[family][0]
    activation = next((config[name] for name in _ACTIVATION_FIELDS if config.get(name)), default)
    if activation not in ACTIVATIONS[family]:
        raise ModelUnusable(f"activation {activation!r} in {CONFIG} is not served for {family}")
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise ModelUnusable(f"the model folder has no tokenizer: none of {', '.join(TOKENIZER_FILES)}")
    weights = _weight_files(path)
    for file in weights:
        _check_weights(file)
    weights_sha256 = sha256_of(weights)
    rest = [path / name for name in (CONFIG, *TOKENIZER_FILES, *TOKENIZER_EXTRAS) if (path / name).is_file()]
    fingerprint = hashlib.sha256(f"{weights_sha256} {sha256_of(rest)}".encode()).hexdigest()
    return ModelFolder(path, family, tuple(weights), weights_sha256, config, fingerprint)


def locate(model: str) -> Path:
    """Returns the folder that a setting names: a path, or `package:NAME`.

    Raises:
        ModelUnusable: there is none.

    """
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


def read_config(path: Path) -> dict[str, Any]:
    """Returns what config.json says.

    Raises:
        ModelUnusable: it is missing, or no JSON object.

    """
    try:
        config = json.loads((path / CONFIG).read_text())
    except OSError as error:
        raise ModelUnusable(f"the model folder has no readable {CONFIG}") from error
    except ValueError as error:
        raise ModelUnusable(f"{CONFIG} of the model is not valid JSON") from error
    if not isinstance(config, dict):
        raise ModelUnusable(f"{CONFIG} of the model is not a JSON object")
    return config


def position_limit(folder: ModelFolder) -> int | None:
    """Returns the tokens that the model's positions reach; None when it states no limit."""
    positions = folder.config.get("n_positions", folder.config.get("max_position_embeddings"))
    if positions is None:
        return None
    # The RoBERTa families count from the padding token's number on.
    return int(positions) - (2 if folder.family in {"roberta", "xlm-roberta"} else 0)


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


def sha256_of(files: list[Path]) -> str:
    """Returns what `cat FILES | sha256sum` says."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
