"""A constant that is added to every gradient of a round.

The control variate of SCAFFOLD (Karimireddy et al. 2020, "SCAFFOLD: Stochastic Controlled Averaging
for Federated Learning", algorithm 1, line 10).
"""

from collections.abc import Sequence

import tensorflow as tf

from tff_nlp.learning.transforms.transform import GradientTransform


def correction(difference: Sequence[tf.Tensor]) -> GradientTransform:
    """Returns the transform that adds a difference to each gradient.

    Args:
      difference: Tensors shaped like the trainable weights; for SCAFFOLD the server's control
        variate minus the client's.
    """
    return GradientTransform(
        lambda weights: (),
        lambda gradients, state, weights: (
            [g + d for g, d in zip(gradients, difference, strict=True)],
            state,
        ),
        sparse=False,
    )
