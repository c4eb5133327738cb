"""What shapes an index, and what was measured of one that was built."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

STRICT = ConfigDict(extra="forbid")
"""A parameter that does not exist is a typing error."""
AUTO = "auto"
FLAT = "flat"
HNSW = "hnsw"
IVF = "ivf"
IVF_PQ = "ivf_pq"
IndexType = Literal["auto", "flat", "hnsw", "ivf", "ivf_pq"]
TYPES: tuple[IndexType, ...] = ("flat", "hnsw", "ivf", "ivf_pq")
"""Types that an index can have."""


@dataclass(frozen=True, config=STRICT)
class IndexParameters:
    """Of the vector index of one space; the figures of the defaults are those of `benchmarks/candidates/index.py`."""

    type: IndexType = "auto"
    """One of `TYPES`, or "auto": chosen by number, length and memory (`index/choice.py`)."""
    flat_items: int = Field(default=50_000, ge=0)
    """Up to this many vectors "auto" means flat, and a flat index is kept in memory and written in place."""
    memory_mb: int = Field(default=4_096, ge=1)
    """Memory, in MiB, that the index of one space may take; "auto" means ivf_pq where ivf would take more."""
    target_recall: float = Field(default=0.96, gt=0, le=1)
    """Share of the true best 100 that a search without a filter finds, on a sample of queries. The effort is raised
    until it does: a little above the 0.95 that is promised of other queries. Longer lists and filters get more."""
    sample: int = Field(default=200, ge=2)
    """Queries that recall is measured on."""
    exact_rows: int = Field(default=20_000, ge=0)
    """Where a call allows at most this many rows, they are scored one by one: exact. Of a million vectors of length 64
    that takes 0.6 ms for 10,000 rows and 1.5 ms for 20,000, where a search with a selector begins to be faster."""
    lists: int = Field(default=0, ge=0)
    """Clusters of ivf and ivf_pq; 0 for 4 times the square root of the number of vectors."""
    nprobe: int = Field(default=32, ge=1)
    """Clusters that a search of ivf and ivf_pq looks into, at least: raised until `target_recall` holds."""
    pq_m: int = Field(default=0, ge=0)
    """Bytes per vector in ivf_pq: a divisor of the dimension; 0 for half the dimension or the next divisor below."""
    rerank: int = Field(default=8, ge=1)
    """Of ivf_pq: vectors scored anew, exactly, per vector asked for."""
    hnsw_m: int = Field(default=32, ge=2)
    """Links per vector in hnsw."""
    ef_construction: int = Field(default=80, ge=1)
    """Candidates per inserted vector in hnsw."""
    ef_search: int = Field(default=128, ge=1)
    """Candidates per search of hnsw, at least: raised until `target_recall` holds."""
    rebuild_share: float = Field(default=0.02, ge=0, le=1)
    """A rebuild is due when this share of the vectors was added, replaced or removed since the last one."""
    rebuild_rows: int = Field(default=1_000, ge=1)
    """A rebuild is not due before this many were."""
    seed: int = Field(default=7, ge=0)
    """Seed of clusters, graph levels and sampled queries."""
    threads: int = Field(default=2, ge=1)
    """Threads that build."""


@dataclasses.dataclass(frozen=True)
class IndexReport:
    """What was built and what was measured of it. Goes into the manifest and `GetIndexInfo`."""

    type: str
    """One of `TYPES`."""
    vectors: int
    """Vectors in it."""
    dim: int
    """Their length."""
    recall_at_100: float
    """Mean share of the true best 100 that a search finds, on the sample; 1 when exact."""
    build_s: float
    """Seconds that building took, without measuring."""
    bytes: int
    """Bytes of its files."""
    settings: Mapping[str, float] = field(default_factory=dict)
    """What it was built with, by parameter: what was chosen where the parameter left it open."""

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values."""
        return asdict(self)
