"""The texts: MovieLens titles with genres, long ones made of them, and their lengths in tokens."""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING

from transformers import AutoTokenizer

from shared.testing.movielens import movielens_items

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SMALL = 200
LONG = {"128 tokens": (128, 256), "512 tokens": (512, 64)}
"""Tokens, special ones included, and how many such texts."""


class Texts:
    """Loads by name, and how many tokens each holds."""

    def __init__(self, model: Path, max_tokens: int, *, small: bool) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        self._max_tokens = max_tokens
        titles = [f"{item.title}. {', '.join(item.categories)}" for item in movielens_items()]
        self.titles = titles[:SMALL] if small else titles
        self.loads = {"titles": self.titles}
        for name, (tokens, count) in LONG.items():
            self.loads[name] = self._long(tokens, count // (32 if small else 1))
        part = len(self.titles) // 8
        self.loads["mixed"] = self.titles[:part] + self._long(64, part // 4) + self._long(200, part // 16)

    def tokens(self, texts: Sequence[str]) -> int:
        """Returns the tokens that an engine reads of the texts."""
        return sum(map(len, self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens)["input_ids"]))

    def _long(self, tokens: int, count: int) -> list[str]:
        words = cycle(" ".join(self.titles).split())
        texts = []
        for _ in range(count):
            text = " ".join(islice(words, tokens))
            ids = self._tokenizer(text, add_special_tokens=False)["input_ids"][: tokens - 2]
            texts.append(self._tokenizer.decode(ids))
        return texts
