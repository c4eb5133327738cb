"""Which version of the language model a stage is trained with: what is measured must not have seen its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.candidates.training.embedding import warmed_up
from shared.data.splits import Stage
from shared.errors import ModelMismatch

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from services.candidates.ports import EncoderNote, VersionedEmbedder
    from shared.data.splits import Protocol

FROM_TEXTS = frozenset({"", "fit"})
"""Labels `method` of encoders that learned from texts alone, if at all; one of any other method has seen events."""
SAME = ("encoder", "method")
"""Labels that a version has in common with the one that stands in for it."""


async def encoder_of_stages(
    embedder: VersionedEmbedder, wanted: str, protocol: Protocol, stages: Collection[Stage]
) -> dict[Stage, str]:
    """Returns the version of the language model for each stage; empty means the current one.

    Args:
        embedder: the language model; not asked where only `serving` is trained, or `wanted` says it all.
        wanted: the version that all stages are told to use; empty means that each gets the one that suits it.
        protocol: whose stages they are.
        stages: those that are trained.

    Raises:
        ModelMismatch: the current version has seen what `fit` and `test` hide, and none that has not is there.
        DependencyUnavailable: the embedding service does not answer.
        ModelNotReady: it has no model, and none within `embedding.WARM_UP_S`.

    """
    if wanted or not set(stages) - {Stage.SERVING}:
        return dict.fromkeys(stages, wanted)
    notes = await warmed_up(embedder.versions)
    current = next((one.version for one in notes if one.is_current), "")
    blind = blind_version(notes, protocol)
    # All by name: the embedding service may swap before the first text is sent.
    versions = {Stage.SERVING: current, Stage.TEST: blind, Stage.FIT: _base_of(notes, blind)}
    return {stage: versions[stage] for stage in stages}


def _base_of(notes: Sequence[EncoderNote], version: str) -> str:
    """Returns the base that a version was trained from, where it is listed; else the version.

    A version of stage `test` has seen what the folds of stage `fit` hide, which is what the fusion learns from.
    """
    listed = {one.version: one for one in notes}
    base = listed[version].lineage.get("base", "") if version in listed else ""
    return base if base in listed and listed[version].labels.get("method", "") not in FROM_TEXTS else version


def blind_version(notes: Sequence[EncoderNote], protocol: Protocol) -> str:
    """Returns the version that has not seen what the protocol hides; empty means that nothing is known of any.

    The current one, where it learned nothing from events. Else the newest that was trained as it was, from the same
    base, on what the protocol shows; else that base.

    Args:
        notes: the versions there are, newest first.
        protocol: what is measured.

    Raises:
        ModelMismatch: there is none; the message says what to do.

    """
    current = next((one for one in notes if one.is_current), None)
    if current is None:
        return ""
    if current.labels.get("method", "") in FROM_TEXTS:
        return current.version
    base = current.lineage.get("base", "")
    labels = {name: current.labels.get(name, "") for name in SAME}
    labels |= {"protocol": protocol.value, "stage": Stage.TEST.value}
    for one in notes:
        if labels.items() <= one.labels.items() and one.lineage.get("base", "") == base:
            return one.version
    if base in {one.version for one in notes}:
        return base
    raise ModelMismatch(
        f"embedding {current.version} was trained on events (method {labels['method']}), those that protocol "
        f"{protocol.value} hides among them, and the embedding service lists neither a version that has not seen them "
        f"nor its base{f' {base}' if base else ''}: run `{_command(labels)}`, or name a version by "
        "CANDIDATES_EMBEDDING_VERSION"
    )


def _command(labels: dict[str, str]) -> str:
    """Returns what trains the version of these labels."""
    encoder, method = labels["encoder"], labels["method"]
    how = "--sessions" if method == "sessions" else f"--method {method}"
    what = f"--encoder {encoder} {how}" if encoder else how
    return f"python -m services.embedding train {what} --protocol {labels['protocol']} --stage {labels['stage']}"
