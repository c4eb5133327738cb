"""Which candidates versions a training run stands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.data.splits import Protocol, Stage
from shared.errors import ModelNotReady

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.ranker.nouns import VersionNote


@dataclass(frozen=True)
class CandidateVersions:
    """`folds[name]` answers the training lists of a fold; the ranker is published for each of `targets`.

    All of them saw the log up to `sequence`, as `protocol` lets them.
    """

    folds: Mapping[str, VersionNote]
    targets: Mapping[Stage, VersionNote]
    sequence: int
    protocol: Protocol


def choose_versions(versions: Sequence[VersionNote], protocol: Protocol) -> CandidateVersions:
    """Returns the newest versions of a protocol that were trained on the same data; `versions` are newest first.

    Raises:
        ModelNotReady: a stage is missing; the message says what to run.

    """
    wanted = [Stage.TEST, *([Stage.SERVING] if protocol is Protocol.WARM else [])]
    own = [one for one in versions if one.labels.get("protocol") == protocol.value]
    for sequence in sorted({one.data_sequence for one in own}, reverse=True):
        # Oldest first, so that the newest of a label is what stays.
        same = [one for one in reversed(own) if one.data_sequence == sequence]
        by_stage = {one.labels.get("stage", ""): one for one in same}
        folds = {one.labels.get("fold", ""): one for one in same if one.labels.get("stage") == Stage.FIT.value}
        if folds and all(stage.value in by_stage for stage in wanted):
            return CandidateVersions(folds, {stage: by_stage[stage.value] for stage in wanted}, sequence, protocol)
    names = ", ".join([Stage.FIT.value, *(stage.value for stage in wanted)])
    raise ModelNotReady(
        f"candidates has no versions of protocol {protocol.value} (stages {names}, trained on the same data). "
        f"Import events, then run `fusionrec train`, or `python -m services.candidates train --protocol "
        f"{protocol.value}` before this"
    )
