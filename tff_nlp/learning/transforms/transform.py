"""Gradient transforms: the interface of optax, and an attribute that local training reads."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Gradients = Sequence[tf.Tensor]


class GradientTransform(NamedTuple):
    """A pair of pure functions, like `optax.GradientTransformation`.

    Attributes:
      init: Function from the weights before the first local step to the state of the transform, a
        structure of tensors.
      update: Function (gradients, state, weights) -> new gradients, new state.
      sparse: Whether the gradient stays zero for a weight that has a zero gradient and has not
        moved. If it does, tables that are read by gathering are trained on the client's own rows
        only.
    """

    init: Callable[[Sequence[tf.Tensor]], Any]
    update: Callable[[Gradients, Any, Sequence[tf.Tensor]], tuple[Gradients, Any]]
    sparse: bool = True


def chain(transforms: Sequence[GradientTransform]) -> GradientTransform:
    """Returns the transform that applies several transforms, in this order."""

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
