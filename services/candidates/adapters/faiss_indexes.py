"""Builds, measures, saves and opens the indexes of large catalogues."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.index.choice import choose_type
from services.candidates.index.live_index import Built, LiveIndex
from services.candidates.index.parameters import FLAT, IndexParameters, IndexReport

if TYPE_CHECKING:
    from pathlib import Path

    from services.candidates.arrays import F32
    from services.candidates.ports import VectorIndex

_VECTORS, _REPORT = "vectors.npy", "index.json"


class FaissIndexes:
    """`IndexBuilder` with FAISS, which is imported when there is something to build: a small catalogue needs none."""

    def __init__(self, parameters: IndexParameters) -> None:
        self._parameters = parameters

    def is_built(self, count: int, dim: int) -> bool:
        """Returns whether an index of this size is built at training; a small one is flat, and filled when loaded."""
        return choose_type(count, dim, self._parameters) != FLAT

    def build(self, vectors: F32) -> LiveIndex:
        """Builds and measures an index of these vectors, float32 (rows, dim), NaN rows for none."""
        from services.candidates.adapters.faiss_building import build_main

        return LiveIndex(build_main(vectors, self._parameters, None), self._parameters, build_main)

    def save(self, index: VectorIndex, folder: Path, embedding: str) -> None:
        """Writes an index that nothing was written to since it was built.

        Raises:
            TypeError: it is not one that `build` made.

        """
        if not isinstance(index, LiveIndex):
            raise TypeError(f"an index of type {index.type} is filled when it is loaded, not saved")
        folder.mkdir(parents=True)
        built = index.built
        np.save(folder / _VECTORS, built.main.vectors)
        built.main.save(folder)
        sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
        report = {**built.report.to_json(), "bytes": sum(sizes.values())}
        values = {"embedding": embedding, "effort": built.effort, "report": report, "sizes": sizes}
        (folder / _REPORT).write_text(json.dumps({**values, "parameters": asdict(self._parameters)}))

    def open(self, folder: Path, embedding: str) -> LiveIndex:
        """Maps what `save` wrote: it is read from the disk where a search comes by.

        Raises:
            ValueError: the files are damaged, or the vectors are of another embedding version.
            OSError, KeyError: it is no index.

        """
        from services.candidates.adapters.faiss_building import build_main, open_main

        values = json.loads((folder / _REPORT).read_text())
        if values["embedding"] != embedding:
            raise ValueError(
                f"the index holds vectors of embedding {values['embedding']}, the version needs those of {embedding}"
            )
        for name, size in values["sizes"].items():
            # FAISS maps a file that ends too soon without a word, and reads past its end later.
            if (folder / name).stat().st_size != size:
                raise ValueError(f"{name} of the index is not {size} bytes long, as it was written")
        parameters = IndexParameters(**values["parameters"])
        report = IndexReport(**values["report"])
        vectors = np.load(folder / _VECTORS, mmap_mode="r")
        # As a plain array: every slice of a `memmap` costs microseconds.
        main = open_main(report.type, folder, np.asarray(vectors), parameters)
        return LiveIndex(Built(main, int(values["effort"]), report), parameters, build_main)
