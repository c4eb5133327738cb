"""Encoders without a network: a text is the weighted sum of its terms' vectors (kinds bow, tfidf and word2vec).

What tells the kinds apart is how the terms' vectors and weights are fitted, not how a text is encoded:

    v(text) = Σ over distinct terms t of the text: c(t) · weight(t) · table[t], then L2-normalised
    c(t) = count of t in the text, or 1 + ln(count) with `log_counts`

Token ids are term ids, from 1; 0 stands for every term that the vocabulary does not have and adds nothing. A text of
unknown terms only, or one whose sum is zero, gets the direction of the average text: nothing is known of it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from safetensors.numpy import save_file

from services.embedding.encoders.artifact import (
    MAX_TOKENS_LIMIT,
    EncoderDescription,
    read_json,
    read_tensors,
    write_description,
)
from services.embedding.encoders.model import ModelUnusable, TokenizedText
from shared.data import limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TERMS_FILE: Final = "terms.json"
TENSORS_FILE: Final = "terms.safetensors"
MAX_TERMS: Final = 200_000
"""Terms of a vocabulary at most."""
UNKNOWN: Final = 0
"""Token id of every term that the vocabulary does not have."""
TERM: Final = re.compile(r"\w+")
"""A term in a normalised text."""
_NOTHING = 1e-12


class NothingToLearn(ValueError):
    """The texts hold nothing to fit an encoder on; the message says what to do."""


def normalised(text: str) -> str:
    """Returns the text as its terms are looked for: NFKC-normalised, case folded."""
    return unicodedata.normalize("NFKC", text).casefold()


def terms_of(text: str) -> list[str]:
    """Returns the terms of a text: runs of letters, digits and underscores, case folded, NFKC-normalised."""
    return TERM.findall(normalised(text))


def choose_terms(documents: Iterable[Sequence[str]], *, min_texts: int, max_terms: int) -> tuple[str, ...]:
    """Returns the terms found in at least `min_texts` documents, the most common first, `max_terms` at most.

    Raises:
        NothingToLearn: there is none.

    """
    counts = Counter(term for document in documents for term in dict.fromkeys(document))
    common = sorted((-count, term) for term, count in counts.items() if count >= min_texts)
    if not common:
        raise NothingToLearn(f"no word occurs in {min_texts} texts or more: import more items, or ask for fewer texts")
    return tuple(term for _, term in common[:max_terms])


@dataclass(frozen=True, eq=False)
class TermModel:
    """A fitted encoder of one of the kinds."""

    kind: str
    """ "bow", "tfidf" or "word2vec"."""
    terms: tuple[str, ...]
    """The vocabulary; the term in place i has token id i + 1."""
    weights: NDArray[np.float32]
    """Weight of each term, (terms,)."""
    table: NDArray[np.float32]
    """Vector of each term, (terms, dim)."""
    neutral: NDArray[np.float32]
    """Unit vector of texts that nothing is known of, (dim,)."""
    log_counts: bool = False
    """A term that occurs c times counts 1 + ln(c), not c."""
    max_tokens: int | None = None
    """Terms read of a text at most; None: 8,192."""

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return int(self.table.shape[1])

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Token id of each term."""
        return {term: number for number, term in enumerate(self.terms, start=1)}

    @property
    def limit(self) -> int:
        """Terms read of a text at most."""
        return self.max_tokens or MAX_TOKENS_LIMIT

    def save(self, folder: Path) -> None:
        """Writes an artifact of kind "embedding"."""
        write_description(folder, EncoderDescription(self.kind, max_tokens=self.max_tokens))
        content = {"terms": list(self.terms), "log_counts": self.log_counts}
        (folder / TERMS_FILE).write_text(json.dumps(content, ensure_ascii=False) + "\n")
        tensors = {"weights": self.weights, "table": self.table, "neutral": self.neutral}
        save_file({name: np.ascontiguousarray(one, np.float32) for name, one in tensors.items()}, folder / TENSORS_FILE)

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """See the port `Tokenizer`."""
        return [_tokenized(terms_of(text), self.numbers, self.limit) for text in texts]

    def encode(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """See the port `Encoder`."""
        lengths = [len(row) for row in rows]
        ids = np.concatenate([np.asarray(row, np.int64) for row in rows])
        places = np.repeat(np.arange(len(rows)), lengths)
        # One number per pair of row and term, in the order of the rows: a row's sum does not depend on its neighbours.
        pairs, counts = np.unique(places * (len(self.terms) + 1) + ids, return_counts=True)
        owners, terms = np.divmod(pairs, len(self.terms) + 1)
        known = terms != UNKNOWN
        owners, terms, counts = owners[known], terms[known] - 1, counts[known]
        amounts = (1.0 + np.log(counts) if self.log_counts else counts).astype(np.float32) * self.weights[terms]
        sums = np.zeros((len(rows), self.dim), np.float32)
        if len(owners):
            starts = np.flatnonzero(np.diff(owners, prepend=-1))
            sums[owners[starts]] = np.add.reduceat(self.table[terms] * amounts[:, None], starts, axis=0)
        return self._units(sums)

    def _units(self, sums: NDArray[np.float32]) -> NDArray[np.float32]:
        lengths = np.linalg.norm(sums, axis=1)
        empty = lengths < _NOTHING
        vectors = sums / np.where(empty, 1.0, lengths)[:, None].astype(np.float32)
        vectors[empty] = self.neutral
        return np.asarray(vectors, np.float32)


def with_neutral(model: TermModel, documents: Sequence[Sequence[str]]) -> TermModel:
    """Returns the model with the direction of the average document as its neutral one."""
    known = [_tokenized(document, model.numbers, model.limit) for document in documents]
    rows = [text.ids for text in known if text.content > text.unknown]
    neutral = model.neutral
    if rows:
        mean = model.encode(rows).mean(axis=0, dtype=np.float64)
        length = float(np.linalg.norm(mean))
        neutral = (mean / length).astype(np.float32) if length > _NOTHING else neutral
    return replace(model, neutral=neutral)


def load(folder: Path, description: EncoderDescription) -> TermModel:
    """Returns the model that `TermModel.save` wrote.

    Raises:
        ModelUnusable: files are missing or damaged, there is no vocabulary, or the shapes do not fit.

    """
    content = read_json(folder / TERMS_FILE)
    terms = content.get("terms") if isinstance(content, dict) else None
    if not isinstance(terms, list) or not terms or not all(isinstance(term, str) and term for term in terms):
        raise ModelUnusable(f"the encoder has no vocabulary: {TERMS_FILE} lists no terms")
    if len(terms) > MAX_TERMS or len(set(terms)) < len(terms):
        raise ModelUnusable(f"{TERMS_FILE} lists a term twice, or more than {MAX_TERMS} of them")
    tensors = read_tensors(folder / TENSORS_FILE)
    table = tensors.get("table", np.empty(0))
    dim = int(table.shape[-1]) if table.ndim == 2 else 0  # noqa: PLR2004 (a matrix)
    if not 1 <= dim <= limits.MAX_VECTOR_DIM:
        raise ModelUnusable(f"{TENSORS_FILE} has no tensor `table` of 1 to {limits.MAX_VECTOR_DIM} columns")
    for name, shape in (("table", (len(terms), dim)), ("weights", (len(terms),)), ("neutral", (dim,))):
        tensor = tensors.get(name)
        if tensor is None or tensor.shape != shape:
            found = "is missing" if tensor is None else f"has shape {tensor.shape}"
            raise ModelUnusable(
                f"the tensor `{name}` in {TENSORS_FILE} {found}; {shape} is needed for {len(terms)} terms"
            )
        if not np.isfinite(tensor).all():
            raise ModelUnusable(f"the tensor `{name}` in {TENSORS_FILE} holds numbers that are not finite")
    floats = {name: np.asarray(tensors[name], np.float32) for name in ("weights", "table", "neutral")}
    log_counts = bool(content.get("log_counts", False))
    return TermModel(description.kind, tuple(terms), **floats, log_counts=log_counts, max_tokens=description.max_tokens)


def _tokenized(terms: Sequence[str], numbers: dict[str, int], limit: int) -> TokenizedText:
    ids = tuple(numbers.get(term, UNKNOWN) for term in terms[:limit])
    unknown = ids.count(UNKNOWN)
    # A text without a term has nothing to read; the port wants one id all the same.
    return TokenizedText(ids or (UNKNOWN,), len(ids), unknown, truncated=len(terms) > limit)
