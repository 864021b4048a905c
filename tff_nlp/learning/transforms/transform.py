"""The shape of a gradient transform: that of optax, with what composition has to know."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Gradients = Sequence[tf.Tensor]


class GradientTransform(NamedTuple):
    """A pair of pure functions, as `optax.GradientTransformation` is one.

    Attributes:
      init: From the weights before the first local step to the transform's state, a structure of
        tensors.
      update: (gradients, state, weights) to the new gradients and the new state.
      sparse: Whether a weight that has no gradient and has not moved keeps a zero gradient. Tables
        that are read by gathering are then trained on the rows of the client alone.
    """

    init: Callable[[Sequence[tf.Tensor]], Any]
    update: Callable[[Gradients, Any, Sequence[tf.Tensor]], tuple[Gradients, Any]]
    sparse: bool = True


def chain(transforms: Sequence[GradientTransform]) -> GradientTransform:
    """Returns the transform that applies several, the first one first."""

    def init(weights: Sequence[tf.Tensor]) -> tuple[Any, ...]:
        return tuple(transform.init(weights) for transform in transforms)

    def update(
        gradients: Gradients, state: Any, weights: Sequence[tf.Tensor]
    ) -> tuple[Gradients, Any]:
        states = []
        for transform, own in zip(transforms, state, strict=True):
            gradients, new = transform.update(gradients, own, weights)
            states.append(new)
        return gradients, tuple(states)

    return GradientTransform(init, update, all(transform.sparse for transform in transforms))
