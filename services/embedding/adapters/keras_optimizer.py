"""AdamW as both trainings use it, and its state as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Stepper:
    """Applies gradients at a given rate: AdamW, the gradient clipped by its length, no decay of biases and norms."""

    def __init__(self, variables: Sequence[Any], *, weight_decay: float, clip_norm: float) -> None:
        import keras

        self._variables = list(variables)
        self._optimizer = keras.optimizers.AdamW(1.0, weight_decay=weight_decay, global_clipnorm=clip_norm)
        self._optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self._optimizer.build(self._variables)

    @property
    def variables(self) -> list[Any]:
        """What is trained."""
        return self._variables

    def at(self, rate: float) -> None:
        """Sets the learning rate of the next step."""
        self._optimizer.learning_rate.assign(rate)

    def apply(self, gradients: Sequence[Any]) -> None:
        """Takes the step; part of a graph."""
        import tensorflow as tf

        # Gradients of embedding tables come as slices, which clipping does not take.
        self._optimizer.apply([tf.convert_to_tensor(one) for one in gradients], self._variables)

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns the moments and the step count."""
        return values("optimizer", self._optimizer.variables)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes them back."""
        assign("optimizer", self._optimizer.variables, state)


def values(prefix: str, variables: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """Returns the values of variables by prefix and place."""
    return {f"{prefix}.{place}": np.asarray(one.numpy()) for place, one in enumerate(variables)}


def assign(prefix: str, variables: Sequence[Any], state: Mapping[str, NDArray[Any]]) -> None:
    """Sets variables to what `values` returned.

    Raises:
        ValueError: they are others.

    """
    for place, one in enumerate(variables):
        value = state.get(f"{prefix}.{place}")
        if value is None or tuple(value.shape) != tuple(one.shape):
            raise ValueError("the checkpoint is of another model")
        one.assign(value)
