"""Protobuf to domain and back. Decoding checks every limit of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionrec.common.v1 import error_pb2, serving_pb2
from fusionrec.embedding.v1 import embedding_service_pb2 as pb

from services.embedding.batching.job import Priority
from shared.data import limits
from shared.data.validation import check_count, check_text
from shared.errors import InvalidField, LimitExceeded
from shared.rpc.convert import encode_served_by, encode_time, encode_vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.embedding.encoders.model import ModelFacts
    from services.embedding.serving.embedder import EmbedOutcome, TextResult
    from services.embedding.versions.source import VersionNote
    from shared.errors import Violation

MAX_VERSION_BYTES = 128


def decode_texts(texts: Sequence[str]) -> list[str]:
    """Returns the texts of a request; empty ones pass, they are answered one by one.

    Raises:
        InvalidField: no text at all.
        LimitExceeded: too many texts, a text too long, or too much in all.

    """
    check_count(texts, "texts", limits.MAX_EMBED_TEXTS, minimum=1)
    decoded = [check_text(text, f"texts[{i}]", limits.MAX_EMBED_TEXT_BYTES) for i, text in enumerate(texts)]
    total = sum(len(text.encode()) for text in decoded)
    if total > limits.MAX_EMBED_TOTAL_BYTES:
        hint = "send fewer texts in a call"
        raise LimitExceeded("texts", f"{total} bytes in all", f"{limits.MAX_EMBED_TOTAL_BYTES} bytes in all", hint)
    return decoded


def decode_version(name: str) -> str:
    """Returns the version that is asked for; empty means the current one.

    Raises:
        LimitExceeded: longer than a version's name can be.

    """
    return check_text(name, "model_version", MAX_VERSION_BYTES)


def decode_priority(number: int) -> Priority:
    """Returns the priority; UNSPECIFIED means INTERACTIVE.

    Raises:
        InvalidField: unknown number.

    """
    try:
        return Priority(number or Priority.INTERACTIVE)
    except ValueError as error:
        names = ", ".join(priority.name for priority in Priority)
        raise InvalidField("priority", number, "a known Priority", f"use one of {names}") from error


def encode_outcome(outcome: EmbedOutcome) -> pb.EmbedResponse:
    """Returns the reply to a list of texts."""
    return pb.EmbedResponse(embeddings=_embeddings(outcome), served_by=_served_by(outcome))


def encode_stream_outcome(batch_id: int, outcome: EmbedOutcome) -> pb.EmbedStreamResponse:
    """Returns the answer to one list of a feed."""
    return pb.EmbedStreamResponse(batch_id=batch_id, embeddings=_embeddings(outcome), served_by=_served_by(outcome))


def encode_facts(
    facts: ModelFacts, cached_texts: int, versions: Sequence[VersionNote] = (), reason: str = ""
) -> pb.GetModelInfoResponse:
    """Returns what callers may know of a loaded model, of the versions there are, and why not the newest is served."""
    return pb.GetModelInfoResponse(
        version=facts.version,
        family=facts.family,
        dim=facts.dim,
        max_tokens=facts.max_tokens,
        pooling=facts.pooling,
        normalized=facts.normalized,
        parameters=facts.parameters,
        weights_sha256=facts.weights_sha256,
        max_texts=limits.MAX_EMBED_TEXTS,
        max_text_bytes=limits.MAX_EMBED_TEXT_BYTES,
        engine=facts.engine,
        cached_texts=cached_texts,
        kind=facts.kind,
        versions=[_version(one) for one in versions],
        status_reason=reason,
    )


def _version(note: VersionNote) -> serving_pb2.VersionInfo:
    return serving_pb2.VersionInfo(
        version=note.version,
        created_at=None if note.created_at is None else encode_time(note.created_at),
        labels=dict(note.labels),
        lineage=dict(note.lineage),
        data_sequence=note.data_sequence,
        is_current=note.is_current,
    )


def _embeddings(outcome: EmbedOutcome) -> list[pb.Embedding]:
    return [_embedding(result) for result in outcome.results]


def _served_by(outcome: EmbedOutcome) -> serving_pb2.ServedBy:
    return encode_served_by({"embedding": outcome.version}, outcome.stages)


def _embedding(result: TextResult) -> pb.Embedding:
    found = result.found
    if found is None:
        violation = None if result.violation is None else _violation(result.violation)
        return pb.Embedding(violation=violation)
    return pb.Embedding(
        vector=encode_vector(found.vector),
        tokens=found.tokens,
        truncated=found.truncated,
        unknown_share=found.unknown_share,
        cached=result.cached,
    )


def _violation(violation: Violation) -> error_pb2.FieldViolation:
    return error_pb2.FieldViolation(
        field=violation.field,
        value=violation.value,
        limit=violation.limit,
        hint=violation.hint,
        reason=error_pb2.ErrorReason.ValueType(violation.reason),
    )
