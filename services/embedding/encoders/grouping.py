"""Which texts of a batch are computed together by an encoder that pads them to the longest."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def group_by_length(lengths: Sequence[int], buckets: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Returns the indices of the texts in groups of one length class, each in the texts' order.

    A text longer than the last of `buckets` is in a class of its own kind. A group's texts times its longest text stay
    within `batch_tokens`, or it is a single text.
    """
    groups: list[list[int]] = []
    open_groups: dict[int, tuple[list[int], int]] = {}
    for index, length in enumerate(lengths):
        bucket = bisect_left(buckets, length)
        group, longest = open_groups.get(bucket, ([], 0))
        longest = max(longest, length)
        if not group or longest * (len(group) + 1) > batch_tokens:
            group, longest = [], length
            groups.append(group)
        group.append(index)
        open_groups[bucket] = group, longest
    return groups
