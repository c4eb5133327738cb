"""Tokenizer port through `transformers.AutoTokenizer`, from the model's folder, never from the network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from services.embedding.encoders.model import ModelUnusable, TokenizedText

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_UNLIMITED = 1_000_000
"""transformers states "no limit" as a number near 1e30; model limits are far below this one."""


def load_tokenizer(path: Path) -> Any:
    """Returns the folder's tokenizer.

    Raises:
        ModelUnusable: it cannot be read, or is not one of the fast kind (offsets and masks are needed).

    """
    # Read by huggingface_hub and transformers when they are imported.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:
        # The library raises many kinds, down to bare Exception from its Rust core.
        raise ModelUnusable("the tokenizer of the model cannot be read") from error
    if not tokenizer.is_fast:
        raise ModelUnusable("the tokenizer of the model has no fast form; add a tokenizer.json")
    return tokenizer


def check_vocabulary(tokenizer: Any, words: int) -> None:
    """Checks that the model has a vector for every token: one without would fail the whole batch that it is in.

    Args:
        tokenizer: the fast tokenizer.
        words: rows of the model's table of words.

    Raises:
        ModelUnusable: the tokenizer makes a larger id.

    """
    largest = max(tokenizer.backend_tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    largest = max(largest, *(number or 0 for number in (tokenizer.pad_token_id, *tokenizer.all_special_ids)))
    if largest >= words:
        raise ModelUnusable(
            f"the tokenizer does not belong to the weights: it makes ids up to {largest}, "
            f"and the model has vectors for {words} tokens"
        )


class HfTokenizer:
    """Cuts texts at `max_tokens`, special tokens included."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        # The Rust core itself: its state is set once here, so that calls from many threads do not race for it.
        self._core = tokenizer.backend_tokenizer
        self._core.no_padding()
        self._core.enable_truncation(max_tokens)
        self._unknown = tokenizer.unk_token_id

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """See the port."""
        return [self._text(encoding) for encoding in self._core.encode_batch(list(texts))]

    def _text(self, encoding: Any) -> TokenizedText:
        ids = encoding.ids
        special = encoding.special_tokens_mask
        content = len(ids) - sum(special)
        unknown = sum(token == self._unknown and not mask for token, mask in zip(ids, special, strict=True))
        return TokenizedText(tuple(ids), content, unknown, truncated=bool(encoding.overflowing))


def tokenizer_limit(tokenizer: Any) -> int | None:
    """Returns the limit that the tokenizer states, tokens; None when it states none."""
    limit = int(min(tokenizer.model_max_length, _UNLIMITED))
    return limit if limit < _UNLIMITED else None
