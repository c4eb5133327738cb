"""FAISS's index files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faiss

if TYPE_CHECKING:
    from pathlib import Path


def read_mapped(path: Path) -> Any:
    """Returns the index of a file, its large arrays mapped: read from the disk when a search comes by.

    Raises:
        ValueError: the file is not an index or ends too soon.

    """
    try:
        # Of the two ways to map that FAISS has, this one maps flat, graph and lists alike.
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise ValueError(f"{path.name} is not an index that FAISS can read") from error
