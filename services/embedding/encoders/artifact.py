"""The layout of an artifact of kind "embedding": what kind of encoder it is, and where its files are.

    encoder.json        {"kind": …, "pooling": …, "max_tokens": …}: `EncoderDescription`
    model/              kinds bert and gpt: a whole folder in Hugging Face layout, LoRA merged into the weights
    head.safetensors    kinds bert and gpt, optional: `Head`, applied to the pooled vector before it is normalised
    (their own files)   kinds bow, tfidf and word2vec: safetensors and JSON, see their modules

Nothing of it is a pickle: an artifact cannot run code.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from services.embedding.encoders.model import ModelUnusable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ARTIFACT_KIND: Final = "embedding"
"""Name of the artifacts in the store."""
ENCODER_FILE: Final = "encoder.json"
MODEL_FOLDER: Final = "model"
HEAD_FILE: Final = "head.safetensors"

POOLINGS: Final[dict[str, tuple[str, ...]]] = {
    "bert": ("mean",),
    "gpt": ("mean", "last"),
    "bow": ("mean",),
    "tfidf": ("mean",),
    "word2vec": ("mean",),
}
"""Kinds of encoders, each with how it can make one vector of its tokens' vectors, the default first."""
KINDS: Final = tuple(POOLINGS)
MAX_TOKENS_LIMIT: Final = 8_192


@dataclass(frozen=True)
class EncoderDescription:
    """What encoder.json says."""

    kind: str
    """One of `KINDS`."""
    pooling: str = "mean"
    """ "mean" over the real tokens, or "last": the last token's vector (decoders read left to right)."""
    max_tokens: int | None = None
    """Tokens read of a text at most, special tokens included; None: as many as the model takes, 8,192 at most."""

    def check(self) -> None:
        """Checks the fields.

        Raises:
            ModelUnusable: an unknown kind or pooling, or a limit that is none; the message names it.

        """
        if self.kind not in POOLINGS:
            raise ModelUnusable(f"kind {self.kind!r} in {ENCODER_FILE} is not served; served are {', '.join(KINDS)}")
        if self.pooling not in POOLINGS[self.kind]:
            known = ", ".join(POOLINGS[self.kind])
            raise ModelUnusable(f"pooling {self.pooling!r} in {ENCODER_FILE} is not served for {self.kind}: {known}")
        limit = self.max_tokens
        if limit is not None and (not isinstance(limit, int) or not 1 <= limit <= MAX_TOKENS_LIMIT):
            raise ModelUnusable(f"max_tokens {limit!r} in {ENCODER_FILE} is not a number of 1 to {MAX_TOKENS_LIMIT}")


def write_description(folder: Path, description: EncoderDescription) -> None:
    """Writes encoder.json; the folder is made when it is missing.

    Raises:
        ModelUnusable: see `EncoderDescription.check`.

    """
    description.check()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ENCODER_FILE).write_text(json.dumps(asdict(description), indent=2) + "\n")


def read_description(folder: Path) -> EncoderDescription:
    """Returns what encoder.json says.

    Raises:
        ModelUnusable: it is missing, no such file, or describes what is not served.

    """
    content = read_json(folder / ENCODER_FILE)
    if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
        raise ModelUnusable(f"{ENCODER_FILE} names no kind of encoder")
    pooling = content.get("pooling") or "mean"
    description = EncoderDescription(content["kind"], str(pooling), content.get("max_tokens"))
    description.check()
    return description


def model_folder(folder: Path) -> Path:
    """Returns where an artifact has its Hugging Face files; a folder without encoder.json is such a folder itself."""
    return folder / MODEL_FOLDER if (folder / ENCODER_FILE).is_file() else folder


@dataclass(frozen=True, eq=False)
class Head:
    """A linear map that was trained on top of an encoder: `pooled @ weight + bias`, then normalised."""

    weight: NDArray[np.float32]
    """Float32, (dim_in, dim_out)."""
    bias: NDArray[np.float32] | None = None
    """Float32, (dim_out,); None: none."""

    @property
    def dim(self) -> int:
        """Length of the vectors that it makes."""
        return int(self.weight.shape[1])

    @property
    def parameters(self) -> int:
        """Its trained numbers."""
        return self.weight.size + (0 if self.bias is None else self.bias.size)

    def save(self, folder: Path) -> None:
        """Writes head.safetensors."""
        tensors = {"weight": np.ascontiguousarray(self.weight, np.float32)}
        if self.bias is not None:
            tensors["bias"] = np.ascontiguousarray(self.bias, np.float32)
        save_file(tensors, folder / HEAD_FILE)


def load_head(folder: Path, dim_in: int) -> Head | None:
    """Returns the head of an artifact; None when it has none.

    Args:
        folder: the artifact's folder.
        dim_in: length of the pooled vectors that it is applied to.

    Raises:
        ModelUnusable: it is damaged, or does not fit.

    """
    if not (folder / HEAD_FILE).is_file():
        return None
    tensors = read_tensors(folder / HEAD_FILE)
    weight, bias = tensors.get("weight"), tensors.get("bias")
    if weight is None or weight.ndim != 2 or len(weight) != dim_in:  # noqa: PLR2004 (a matrix)
        raise ModelUnusable(f"{HEAD_FILE} has no tensor `weight` of {dim_in} rows")
    if bias is not None and bias.shape != weight.shape[1:]:
        raise ModelUnusable(f"the tensor `bias` in {HEAD_FILE} has shape {bias.shape}, not {weight.shape[1:]}")
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise ModelUnusable(f"{HEAD_FILE} holds numbers that are not finite")
    return Head(np.asarray(weight, np.float32), None if bias is None else np.asarray(bias, np.float32))


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file of an artifact.

    Raises:
        ModelUnusable: it is missing or not JSON.

    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise ModelUnusable(f"the encoder has no readable {path.name}") from error
    except ValueError as error:
        raise ModelUnusable(f"{path.name} of the encoder is not valid JSON") from error


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Returns the tensors of a safetensors file of an artifact.

    Raises:
        ModelUnusable: it is missing or damaged.

    """
    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelUnusable(f"{path.name} of the encoder is missing, damaged or cut short") from error
    return tensors
