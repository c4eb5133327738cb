"""A BERT-family folder as a KerasHub backbone that computes what the folder's configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from services.embedding.adapters.hf_names import loadable
from services.embedding.encoders.model import ModelUnusable

if TYPE_CHECKING:
    from services.embedding.adapters.hf_folder import ModelFolder

log = structlog.get_logger(__name__)


def load_backbone(folder: ModelFolder) -> Any:
    """Returns the folder's backbone.

    Raises:
        ModelUnusable: the weights do not fit the configuration.

    """
    import keras_hub

    try:
        with loadable(folder) as path:
            backbone = keras_hub.models.Backbone.from_preset(str(path))
    except Exception as error:
        # Missing tensors, wrong shapes, unknown options: the library raises many kinds. All mean the same here.
        log.exception("KerasHub cannot load the model")
        raise ModelUnusable("the weights do not fit the configuration of the model") from error
    if folder.family == "bert":
        _take_exact_gelu(backbone)
    return backbone


def _take_exact_gelu(backbone: Any) -> None:
    """Sets BERT's activation to the one its folders are saved with: "gelu", by the error function.

    KerasHub's BERT computes the tanh approximation, which moves a vector's numbers by up to 1e-4.
    """
    import keras

    for layer in backbone.transformer_layers:
        layer.activation = keras.activations.gelu
        # The layer has handed its activation on to this one when it was built; there is no public way to it.
        layer._feedforward_intermediate_dense.activation = keras.activations.gelu  # noqa: SLF001
