"""The proximal term of FedProx.

Li et al. 2020, "Federated Optimization in Heterogeneous Networks", equation 2.
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
        with_term = [
            g + strength * (w - w0) for g, w, w0 in zip(gradients, weights, state, strict=True)
        ]
        return with_term, state

    return transform.GradientTransform(lambda weights: tuple(map(tf.identity, weights)), update)
