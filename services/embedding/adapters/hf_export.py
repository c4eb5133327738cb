"""A KerasHub backbone as a folder in Hugging Face layout, under the names that its tensors had there.

KerasHub's converters say which tensor goes into which variable, and how it is turned on the way. They are run once
more, against a loader that only notes it: instead of a tensor they get its element numbers, which tells where each
number of the variable came from. So every family that KerasHub reads can be written, also those that cut one tensor in
three.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from services.embedding.adapters.hf_folder import CONFIG, WEIGHTS, WEIGHTS_INDEX
from services.embedding.adapters.hf_names import loadable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from services.embedding.adapters.hf_folder import ModelFolder

_SEGMENTS = "embeddings.token_type_embeddings.weight"


def export_folder(backbone: Any, source: ModelFolder, target: Path) -> None:
    """Writes the backbone with its weights as they are now, and what else the source folder holds, into `target`.

    LoRA is merged: what is written is what the layers compute with.

    Args:
        backbone: a KerasHub backbone that was loaded from `source`.
        source: the folder that it came from; names, configuration and tokenizer are taken from there.
        target: where to; made when it is missing.

    """
    target.mkdir(parents=True, exist_ok=True)
    for file in source.path.iterdir():
        if file.is_file() and file not in source.weight_files and file.name != WEIGHTS_INDEX:
            shutil.copyfile(file, target / file.name)
    with loadable(source) as path:
        tensors = _tensors(path)
        recorded = _Recorder(path, tensors)
        with recorded.loader as loader:
            _converter(path).convert_weights(backbone, loader, json.loads((path / CONFIG).read_text()))
    if source.family in ("roberta", "xlm-roberta"):
        # Their only segment was added to every position when it was loaded: it must not be added twice.
        for name in tensors:
            if name.endswith(_SEGMENTS):
                tensors[name] = np.zeros_like(tensors[name])
    save_file(
        {name: np.ascontiguousarray(value) for name, value in tensors.items()}, target / WEIGHTS, {"format": "pt"}
    )


def _tensors(path: Path) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (a handle, not a mapping)
                found[name] = tensors.get_tensor(name)
    return found


def _converter(path: Path) -> Any:
    from keras_hub.src.utils.preset_utils import get_preset_loader

    return get_preset_loader(str(path)).converter


class _Recorder:
    """Puts what the variables hold into `tensors` where a converter would have taken it from."""

    def __init__(self, path: Path, tensors: dict[str, NDArray[Any]]) -> None:
        from keras_hub.src.utils.transformers.safetensor_utils import SafetensorLoader

        def put(loader: Any, keras_variable: Any, hf_weight_key: str, hook_fn: Any = None) -> None:
            name = loader.get_prefixed_key(hf_weight_key, tensors)
            tensor = tensors[name]
            # float64 holds every element number up to 2^53 exactly.
            places = np.arange(tensor.size, dtype=np.float64).reshape(tensor.shape)
            taken = hook_fn(places, list(keras_variable.shape)) if hook_fn else places
            tensor = np.array(tensor, dtype=tensor.dtype)
            tensor.reshape(-1)[np.asarray(taken).reshape(-1).astype(np.int64)] = _value(keras_variable).reshape(-1)
            tensors[name] = tensor

        def get(loader: Any, hf_weight_key: str) -> NDArray[Any]:
            # Asked for by a converter that adds something to the backbone itself: it is there already.
            return np.zeros_like(tensors[loader.get_prefixed_key(hf_weight_key, tensors)])

        recording = type("RecordingLoader", (SafetensorLoader,), {"port_weight": put, "get_tensor": get})
        self.loader = recording(str(path))


def _value(variable: Any) -> NDArray[Any]:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(variable))
