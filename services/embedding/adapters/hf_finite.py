"""Whether the numbers of a model's weights are numbers.

A NaN in the table of the words reaches the vectors of the texts with that word only, and so no check that encodes a
few texts finds it; where texts share a batch it would reach the others, too.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from services.embedding.encoders.model import ModelUnusable

if TYPE_CHECKING:
    from pathlib import Path

    from services.embedding.adapters.hf_folder import ModelFolder

_LENGTH = 8
"""Bytes that say how long the header of a safetensors file is."""
_BLOCK = 1 << 22
"""Numbers looked at together: a copy of a large table is never made."""
_EXPONENTS = {"F64": ("<u8", 0x7FF << 52), "F32": ("<u4", 0x7F80_0000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}
"""By type, as integers: the bits of the exponent, all set in infinities and in what is no number. numpy has no BF16."""


def check_finite(folder: ModelFolder) -> None:
    """Checks every number of the weights; reads them once.

    Raises:
        ModelUnusable: one is infinite or no number; the message names the tensor.

    """
    for file in folder.weight_files:
        _check_file(file)


def _check_file(file: Path) -> None:
    content = np.memmap(file, np.uint8, mode="r")
    begin = _LENGTH + int.from_bytes(content[:_LENGTH].tobytes(), "little")
    header: dict[str, Any] = json.loads(content[_LENGTH:begin].tobytes())
    for name, tensor in header.items():
        count = math.prod(tensor.get("shape", (0,)))
        if count and tensor["dtype"] in _EXPONENTS:
            kind, exponent = _EXPONENTS[tensor["dtype"]]
            numbers = np.ndarray((count,), kind, content, begin + tensor["data_offsets"][0])
            for start in range(0, count, _BLOCK):
                if np.any(numbers[start : start + _BLOCK] & exponent == exponent):
                    raise ModelUnusable(f"the tensor {name} in {file.name} holds numbers that are not finite")
