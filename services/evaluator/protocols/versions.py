"""Finds the versions to measure, and refuses those that would leak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.data.splits import Protocol, Stage
from shared.errors import ModelMismatch, ModelNotReady, NotFound

if TYPE_CHECKING:
    from services.evaluator.ports import Candidates, CandidatesInfo, Ranker, RankerInfo, Version


@dataclass(frozen=True, slots=True)
class Measurable:
    """The versions of one protocol's test stage, and what they hold."""

    ranker: Version
    ranker_info: RankerInfo
    candidates: Version
    candidates_info: CandidatesInfo

    @property
    def names(self) -> dict[str, str]:
        """The versions by kind."""
        return {
            "ranker": self.ranker.version,
            "candidates": self.candidates.version,
            "embedding": self.ranker_info.embedding_version or self.candidates_info.embedding_version,
        }


async def find_versions(protocol: Protocol, ranker: Ranker, candidates: Candidates) -> Measurable:
    """Returns the newest ranker version of the protocol's test stage, with the candidates version of its lineage.

    Raises:
        ModelNotReady: there is none; the message names the command that trains it.
        ModelMismatch: the two have not seen the same data, or the candidates version is not of this protocol's test
            stage and may have seen what is to be foretold.

    """
    chosen = await _find_ranker(protocol, ranker)
    name = chosen.lineage.get("candidates", "")
    try:
        candidates_info = await candidates.info(name)
    except (NotFound, ModelNotReady) as error:
        raise _untrained(f"candidates version {name or 'of the ranker'}", protocol) from error
    partner = next((one for one in candidates_info.versions if one.version == name), None)
    if partner is None:
        raise _untrained(f"candidates version {name or 'of the ranker'}", protocol)
    _check(protocol, chosen, partner)
    return Measurable(chosen, await ranker.info(chosen.version), partner, candidates_info)


async def _find_ranker(protocol: Protocol, ranker: Ranker) -> Version:
    try:
        info = await ranker.info()
    except ModelNotReady as error:
        raise _untrained("ranker version", protocol) from error
    for version in info.versions:
        if version.labels.get("protocol") == protocol and version.labels.get("stage") == Stage.TEST:
            return version
    raise _untrained("ranker version", protocol)


def _check(protocol: Protocol, ranker: Version, candidates: Version) -> None:
    labels = candidates.labels
    again = f"run `fusionrec train --protocol {protocol}` again"
    if labels.get("protocol") != protocol or labels.get("stage") != Stage.TEST:
        of = f"protocol {labels.get('protocol', '?')}, stage {labels.get('stage', '?')}"
        raise ModelMismatch(
            f"ranker {ranker.version} was made for candidates of {of}, which may know the test: {again}"
        )
    if ranker.data_sequence != candidates.data_sequence or ranker.data_sequence <= 0:
        raise ModelMismatch(
            f"ranker {ranker.version} has read the log up to {ranker.data_sequence}, candidates {candidates.version} "
            f"up to {candidates.data_sequence}: {again}"
        )


def _untrained(what: str, protocol: Protocol) -> ModelNotReady:
    return ModelNotReady(
        f"no {what} for protocol {protocol}, stage test, is loaded: run `fusionrec train --protocol {protocol}`, then "
        "evaluate again"
    )
