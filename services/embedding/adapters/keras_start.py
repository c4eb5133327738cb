"""How TensorFlow is started in a serving process."""

from __future__ import annotations

import gc
import os
import sys

import structlog

log = structlog.get_logger(__name__)


def start_tensorflow(threads: int) -> None:
    """Imports TensorFlow as the engine of Keras; `threads` compute one operator, 0 means all cores."""
    # Read when the libraries are imported; an operator's own values stand.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow turns oneDNN on by itself on newer processors only, and the kernels that fuse are oneDNN's.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import tensorflow as tf

    if "keras_hub" not in sys.modules:
        import keras_hub  # noqa: F401 (with all that it imports)

        # What the libraries made stays for good. A version's graphs are cycles, collected when it is dropped: that
        # must not look at these 400,000 objects, half a second in which no call is answered.
        gc.collect()
        gc.freeze()
    if threads and tf.config.threading.get_intra_op_parallelism_threads() != threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        except RuntimeError:
            log.warning("TensorFlow runs already; its thread count stays", wanted=threads)


def has_gpu() -> bool:
    """Returns whether TensorFlow would compute on a GPU. Imports it."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
