"""What a canary sends: the clients of an audit, which have no examples (`privacy.canaries`)."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tff_nlp.privacy import canaries


@dataclasses.dataclass(frozen=True)
class Canaries:
    """Clients of an audit.

    Attributes:
      seed: What `privacy.canaries.seed_of` gives.
      norm: L2 norm of what they send; longer than any clipping norm, to show whether there is one.
    """

    seed: tuple[int, int]
    norm: float

    def update(self, index: tf.Tensor, weights: Sequence[tf.Tensor]) -> tuple[tf.Tensor, ...]:
        """Returns a canary's update: a random direction.

        Args:
          index: int32, which canary.
          weights: The trainable weights, for their shapes.
        """
        parts = canaries.directions(self.seed, index, [w.shape for w in weights])
        factor = self.norm / tf.linalg.global_norm(parts)
        return tuple(factor * part for part in parts)
