"""Explaining a similarity: the vectors, what each word adds to their product, the attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.embedding.attribution.model import (
    Attribution,
    HeadAttention,
    ReadText,
    TextShare,
    WordShare,
)
from services.embedding.attribution.words import words_of
from shared.data import limits
from shared.errors import InvalidField, LimitExceeded
from shared.telemetry.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from services.embedding.attribution.desk import Desk
    from services.embedding.attribution.model import Question
    from services.embedding.ports import Attributor

_NOTHING = 1e-6


class Explainer:
    """Answers questions about one loaded model.

    With unit vectors u of the text and p of what it is compared with, the similarity is u·p. The encoder says what
    each token of a text adds to the product of its vector with a direction (`Attributor`): for the text that direction
    is p. For text k of a profile p = Σ w_k v_k / |Σ w_k v_k|, the parts of v_k·u are scaled by w_k / |Σ w_k v_k|. So
    the words of either side sum to u·p, and exchanging text and other exchanges the words.

    `max_tokens`: tokens of all texts of a question together.
    """

    def __init__(self, attributor: Attributor, desk: Desk, version: str, *, max_tokens: int) -> None:
        self._attributor = attributor
        self._desk = desk
        self._version = version
        self._max_tokens = max_tokens

    async def explain(self, question: Question) -> Attribution:
        """Returns the words' contributions.

        Raises:
            InvalidField: a text has nothing to read, a layer does not exist, or the others cancel each other out.
            LimitExceeded: too many tokens in all, or too much attention.
            Overloaded: too many questions wait.
            DeadlineExceeded: the call's time ran out; what was left of the work was not done.
            ShuttingDown: the server is about to stop.

        """
        return await self._desk.run(lambda go_on: self._explained(question, go_on))

    def _explained(self, question: Question, go_on: Callable[[], None]) -> Attribution:
        stages = Stages("embedding")
        with stages.stage("tokenize"):
            text = self._read(question.text, "text")
            fields = ["other"] if question.single else [f"others[{n}].text" for n in range(len(question.others))]
            others = [self._read(one.text, field) for one, field in zip(question.others, fields, strict=True)]
            layers = self._layers(question, len(text.ids))
            self._check_tokens(text, others)
        with stages.stage("encode"):
            vector = self._attributor.vector(text)
            vectors = []
            for one in others:
                go_on()
                vectors.append(self._attributor.vector(one))
            weights, profile = _profile(np.array([one.weight for one in question.others]), np.stack(vectors))
        with stages.stage("attribute"):
            side = [self._share(question.text, text, vector, profile, 1.0, go_on)]
            for given, one, its, weight in zip(question.others, others, vectors, weights, strict=True):
                side.append(self._share(given.text, one, its, vector, float(weight), go_on))
        with stages.stage("attention"):
            attention = tuple(self._attention(text, layers, go_on))
        similarity = float(vector @ profile)
        shares = [share for share, _ in side]
        return Attribution(
            similarity=similarity,
            text=shares[0],
            others=tuple(shares[1:]),
            residual=similarity - _sum(shares[:1]),
            other_residual=similarity - _sum(shares[1:]),
            attention=attention,
            pieces=text.pieces if layers else (),
            method=self._attributor.method,
            evaluations=sum(evaluations for _, evaluations in side),
            version=self._version,
            stages=stages.times,
        )

    def _read(self, text: str, field: str) -> ReadText:
        read = self._attributor.read(text)
        if not read.has_content:
            limit = f"1..{limits.MAX_EMBED_TEXT_BYTES} bytes with something to read"
            raise InvalidField(field, text, limit, "send a text with at least one word")
        return read

    def _check_tokens(self, text: ReadText, others: Sequence[ReadText]) -> None:
        tokens = len(text.ids) + sum(len(one.ids) for one in others)
        if tokens > self._max_tokens:
            hint = "send fewer or shorter texts"
            raise LimitExceeded("others", f"{tokens} tokens in all", f"{self._max_tokens} tokens in all", hint)

    def _layers(self, question: Question, tokens: int) -> tuple[int, ...]:
        """Returns the layers whose attention is wanted: none, those asked for, or all."""
        if question.layers is None:
            return ()
        layers, heads = self._attributor.layers, self._attributor.heads
        for layer in question.layers:
            if not 0 <= layer < layers:
                limit = f"0..{layers - 1}" if layers else "none: this kind of encoder has no attention"
                raise InvalidField("attention_layers", layer, limit, "ask for layers that the model has")
        wanted = tuple(dict.fromkeys(question.layers)) or tuple(range(layers))
        weights = len(wanted) * heads * tokens * tokens
        if weights > limits.MAX_ATTENTION_WEIGHTS:
            fitting = limits.MAX_ATTENTION_WEIGHTS // (heads * tokens * tokens)
            hint = f"ask for {fitting} layers at most (attention_layers)" if fitting else "send a shorter text"
            value = f"{len(wanted)} layers of {heads} heads over {tokens} tokens: {weights} weights"
            raise LimitExceeded("attention_layers", value, f"{limits.MAX_ATTENTION_WEIGHTS} weights", hint)
        return wanted

    def _share(
        self,
        surface: str,
        text: ReadText,
        vector: NDArray[np.float32],
        direction: NDArray[np.float32],
        scale: float,
        go_on: Callable[[], None],
    ) -> tuple[TextShare, int]:
        tokens = self._attributor.shares(text, direction, go_on)
        words = tuple(
            WordShare(word.surface, word.start, scale * float(tokens.values[list(word.tokens)].sum()))
            for word in words_of(surface, text.spans)
        )
        product = float(vector @ direction)
        return TextShare(words, scale * product, product, len(text.ids), text.truncated), tokens.evaluations

    def _attention(self, text: ReadText, layers: tuple[int, ...], go_on: Callable[[], None]) -> Iterator[HeadAttention]:
        if not layers:
            return
        go_on()
        maps = self._attributor.attention(text)
        for layer in layers:
            for head, weights in enumerate(maps[layer]):
                yield HeadAttention(layer, head, weights)


def _profile(
    weights: NDArray[np.float64], vectors: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Returns each text's scale in the profile's unit vector, float64 (texts,), and that vector, float32 (dim,)."""
    total = weights @ vectors
    length = float(np.linalg.norm(total))
    if length < _NOTHING * float(np.abs(weights).sum()):
        raise InvalidField("others", f"{len(weights)} texts", "texts with a common direction", "they cancel out")
    return weights / length, (total / length).astype(np.float32)


def _sum(shares: Sequence[TextShare]) -> float:
    return sum(word.contribution for share in shares for word in share.words)
