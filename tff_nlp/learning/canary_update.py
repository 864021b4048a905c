"""The updates of canaries: clients of an audit, without examples (see `privacy.canaries`)."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tff_nlp.privacy import canaries


@dataclasses.dataclass(frozen=True)
class Canaries:
    """The canaries of an audit.

    Attributes:
      seed: Seed of their directions, from `privacy.canaries.seed_of`.
      norm: L2 norm of their updates. It is larger than the clipping norm, so that an audit detects
        a mechanism that does not clip.
    """

    seed: tuple[int, int]
    norm: float

    def update(self, index: tf.Tensor, weights: Sequence[tf.Tensor]) -> tuple[tf.Tensor, ...]:
        """Returns a canary's update: a random direction.

        Args:
          index: int32, number of the canary, from 0.
          weights: The trainable weights, for their shapes.
        """
        parts = canaries.directions(self.seed, index, [w.shape for w in weights])
        factor = self.norm / tf.linalg.global_norm(parts)
        return tuple(factor * part for part in parts)
