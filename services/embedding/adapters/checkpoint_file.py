"""`Checkpoints` port: one safetensors file, replaced in one step."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

log = structlog.get_logger(__name__)


class CheckpointFile:
    """Keeps the state of one training in `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, numbers: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """See the port."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            # Not `ascontiguousarray`, which makes a row of a single number.
            tensors = {name: np.asarray(value, order="C") for name, value in arrays.items()}
            save_file(tensors, temporary, {"numbers": json.dumps(dict(numbers))})
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
        """See the port."""
        if not self._path.is_file():
            return None
        try:
            with safe_open(self._path, framework="np") as tensors:
                numbers = json.loads(tensors.metadata()["numbers"])
                return numbers, {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 (a handle)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            log.warning("the checkpoint cannot be read: the training starts over", reason=str(error))
            return None
