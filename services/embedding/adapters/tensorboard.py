"""`Board` port: event files that TensorBoard draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class TensorBoardFiles:
    """Writes into `folder`; a resumed training adds a file, and TensorBoard joins the curves."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._writer = tf.summary.create_file_writer(str(folder))
        self._summary = tf.summary
        # What `tf.summary.scalar` writes; that one wants TensorBoard itself to be installed where the training runs.
        self._scalar = tf.compat.v1.SummaryMetadata(data_class="DATA_CLASS_SCALAR")
        self._scalar.plugin_data.plugin_name = "scalars"

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See the port."""
        with self._writer.as_default():
            for name, value in values.items():
                self._summary.write(name, np.float32(value), step=step, metadata=self._scalar)
        self._writer.flush()
