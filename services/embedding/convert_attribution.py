"""Attribution: protobuf to domain and back. Decoding checks every limit of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionrec.embedding.v1 import embedding_service_pb2 as pb

from services.embedding.attribution.model import Question, WeightedText
from shared.data import limits
from shared.data.validation import check_count, check_number, check_text
from shared.errors import InvalidField, LimitExceeded
from shared.rpc.convert import encode_served_by

if TYPE_CHECKING:
    from services.embedding.attribution.model import Attribution, HeadAttention, TextShare


def decode_question(request: pb.AttributeRequest) -> Question:
    """Returns what is asked.

    Raises:
        InvalidField: an empty text, both or neither of `other` and `others`, a weight that is none.
        LimitExceeded: a text too long, too many texts or layers, or too much text in all.

    """
    text = check_text(request.text, "text", limits.MAX_EMBED_TEXT_BYTES, required=True)
    single = not request.others
    others = (_other(request.other),) if single else _others(request)
    check_count(request.attention_layers, "attention_layers", limits.MAX_ATTENTION_LAYERS)
    layers = tuple(request.attention_layers) if request.attention or request.attention_layers else None
    return Question(text, others, single, layers)


def encode_attribution(attribution: Attribution, *, single: bool) -> pb.AttributeResponse:
    """Returns the reply to a question about one other text (`single`) or a profile."""
    response = pb.AttributeResponse(
        similarity=attribution.similarity,
        words=_words(attribution.text),
        attention=[_map(one) for one in attribution.attention],
        tokens=attribution.pieces,
        served_by=encode_served_by({"embedding": attribution.version}, attribution.stages),
        residual=attribution.residual,
        other_residual=attribution.other_residual,
        others=[_text(one) for one in attribution.others],
        text_tokens=attribution.text.tokens,
        truncated=attribution.text.truncated,
        method=attribution.method,
        evaluations=attribution.evaluations,
    )
    if single:
        response.other_words.extend(_words(attribution.others[0]))
    return response


def _other(text: str) -> WeightedText:
    return WeightedText(check_text(text, "other", limits.MAX_EMBED_TEXT_BYTES, required=True))


def _others(request: pb.AttributeRequest) -> tuple[WeightedText, ...]:
    if request.other:
        raise InvalidField("other", request.other, "empty when `others` is set", "send one of the two")
    check_count(request.others, "others", limits.MAX_ATTRIBUTE_TEXTS)
    decoded = []
    for index, one in enumerate(request.others):
        text = check_text(one.text, f"others[{index}].text", limits.MAX_EMBED_TEXT_BYTES, required=True)
        weight = check_number(one.weight, f"others[{index}].weight", 0.0, limits.MAX_ATTRIBUTE_WEIGHT)
        decoded.append(WeightedText(text, weight or 1.0))
    total = sum(len(one.text.encode()) for one in decoded)
    if total > limits.MAX_ATTRIBUTE_TOTAL_BYTES:
        limit = f"{limits.MAX_ATTRIBUTE_TOTAL_BYTES} bytes in all"
        raise LimitExceeded("others", f"{total} bytes in all", limit, "send fewer or shorter texts")
    return tuple(decoded)


def _words(share: TextShare) -> list[pb.WordContribution]:
    return [
        pb.WordContribution(word=word.word, contribution=word.contribution, start=word.start) for word in share.words
    ]


def _text(share: TextShare) -> pb.AttributedText:
    return pb.AttributedText(
        words=_words(share),
        contribution=share.contribution,
        similarity=share.similarity,
        tokens=share.tokens,
        truncated=share.truncated,
    )


def _map(one: HeadAttention) -> pb.AttentionMap:
    return pb.AttentionMap(layer=one.layer, head=one.head, weights=one.weights.ravel())
