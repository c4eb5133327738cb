"""Whose column is whose: the fields of the contract found in the columns of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.cli.console import EXIT_USAGE, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from shared.cli.readers import Source


def parse_map(pairs: Iterable[str]) -> dict[str, str]:
    """Returns our names to theirs from "ours=theirs" pairs.

    Raises:
        Refusal: not a pair, or a name given twice.

    """
    mapping: dict[str, str] = {}
    for pair in pairs:
        ours, _, theirs = pair.partition("=")
        if not ours or not theirs:
            raise Refusal(f"--map {pair}: write it as OURS=THEIRS, for example --map item_id=movieId", EXIT_USAGE)
        if ours in mapping:
            raise Refusal(f"--map names {ours} twice", EXIT_USAGE)
        if theirs in mapping.values():
            raise Refusal(f"--map uses the column {theirs} twice", EXIT_USAGE)
        mapping[ours] = theirs
    return mapping


def check_columns(path: Path, source: Source, mapping: Mapping[str, str], required: Iterable[str]) -> None:
    """Checks that a file that names its columns has those that are needed.

    Raises:
        Refusal: names what is missing and what there is.

    """
    if source.columns is None:
        return
    there = ", ".join(source.columns)
    for ours, theirs in mapping.items():
        if theirs not in source.columns:
            raise Refusal(f"{path.name} has no column {theirs} (--map {ours}={theirs}). It has: {there}", EXIT_USAGE)
    missing = [name for name in required if mapping.get(name, name) not in source.columns]
    if missing:
        raise Refusal(
            f"{path.name} has no column {', '.join(missing)}. It has: {there}. "
            f"Say which one is meant, for example --map {missing[0]}=COLUMN",
            EXIT_USAGE,
        )
