"""A GGUF model through llama-cpp-python, which is an optional dependency."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

from shared.errors import InvalidField, ModelNotReady

PACKAGE_PREFIX = "package:"
FIELD = "RANKER_SENTENCE_MODEL"
MAX_TOKENS = 48
CONTEXT_TOKENS = 1024


def find_model(name: str) -> Path:
    """Returns the GGUF file: a path, or `package:NAME` for that of an installed package, which is not imported.

    Raises:
        InvalidField: there is none, or more than one.
        ModelNotReady: llama-cpp-python is not installed.

    """
    if importlib.util.find_spec("llama_cpp") is None:
        raise ModelNotReady("llama-cpp-python is not installed: pip install 'fusionrec[ranker-sentences]'")
    if not name.startswith(PACKAGE_PREFIX):
        path = Path(name)
        if not path.is_file():
            raise InvalidField(FIELD, name, "a GGUF file or package:NAME", "there is no such file")
        return path
    package = name.removeprefix(PACKAGE_PREFIX)
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise InvalidField(FIELD, name, "an installed package", "install it, or name a file")
    files = sorted(file for place in found.submodule_search_locations for file in Path(place).glob("*.gguf"))
    if len(files) != 1:
        raise InvalidField(FIELD, name, "a package with one GGUF file", f"it has {len(files)}; name a file")
    return files[0]


class LlamaModel:
    """`SentenceModel` over one loaded GGUF file. `threads`: processor threads while it writes."""

    def __init__(self, path: Path, *, threads: int) -> None:
        import llama_cpp

        self.name = path.stem
        self._llama: Any = llama_cpp.Llama(str(path), n_ctx=CONTEXT_TOKENS, n_threads=threads, verbose=False)

    def complete(self, messages: list[dict[str, str]], until: float) -> str:
        """Returns the model's first sentence; empty when the time is up before it ends; see `SentenceModel`."""
        text = ""
        # A stream, so that the time is looked at after every token.
        for part in self._llama.create_chat_completion(
            messages, temperature=0.0, max_tokens=MAX_TOKENS, stream=True, seed=0
        ):
            if time.monotonic() >= until:
                return ""
            text += part["choices"][0]["delta"].get("content") or ""
            if _ends(text):
                return text.strip()
        return text.strip()


def _ends(text: str) -> bool:
    """Returns whether a sentence has ended: a stop and then a space, not that of an initial or a number."""
    return "\n" in text.strip() or (len(text) > 20 and text.rstrip() != text and text.rstrip()[-1] in ".!?")  # noqa: PLR2004 (longer than "You liked Dr. ")
