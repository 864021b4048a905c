"""The proximal terms of FedProx and Ditto.

Li et al. 2020, "Federated Optimization in Heterogeneous Networks", equation 2;
Li et al. 2021, "Ditto: Fair and Robust Federated Learning Through Personalization", equation 2.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tff_nlp import errors
from tff_nlp.learning.transforms import transform


def proximal(strength: float) -> transform.GradientTransform:
    """Returns the transform that adds `strength * (weights - initial weights)` to the gradient.

    This is the gradient of the term `strength / 2 * |weights - initial weights|^2`.

    Args:
      strength: The factor mu of the paper, above 0 and finite.

    Raises:
      UserError: If the strength is out of range.
    """
    if not 0 < strength < float("inf"):
        raise errors.UserError(f"`proximal_strength`={strength}: must be above 0 and finite")

    def update(
        gradients: transform.Gradients, state: Any, weights: Sequence[tf.Tensor]
    ) -> tuple[transform.Gradients, Any]:
        return _pulled(strength, gradients, weights, state), state

    return transform.GradientTransform(lambda weights: tuple(map(tf.identity, weights)), update)


def towards(centre: Sequence[tf.Tensor], strength: float) -> transform.GradientTransform:
    """Returns the transform that adds `strength * (weights - centre)` to the gradient.

    The centre is not where the client begins. So the term also moves the rows of a table that the
    client does not read.

    Args:
      centre: The weights to stay near to, with the shapes of the trainable weights.
      strength: The factor of the term, above 0 and finite.
    """
    return transform.GradientTransform(
        lambda weights: (),
        lambda gradients, state, weights: (_pulled(strength, gradients, weights, centre), state),
        sparse=False,
    )


def _pulled(
    strength: float,
    gradients: transform.Gradients,
    weights: Sequence[tf.Tensor],
    centre: Sequence[tf.Tensor],
) -> list[tf.Tensor]:
    return [g + strength * (w - c) for g, w, c in zip(gradients, weights, centre, strict=True)]
