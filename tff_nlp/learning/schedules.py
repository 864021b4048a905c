"""Learning-rate schedules over rounds."""

import dataclasses

import tensorflow as tf

from tff_nlp import errors


@dataclasses.dataclass(frozen=True)
class LinearSchedule:
    """A factor on the client's learning rate: linear warm-up, then constant or linear decay to 0.

    The factor depends on the round and not on the local step. Clients start a new optimizer in each
    round, so only the server knows the progress of training.

    Attributes:
      warmup_rounds: Number of rounds of the warm-up. Round r of them, from 0, has the factor
        (r + 1) / (warmup_rounds + 1).
      total_rounds: The round in which the factor reaches zero; None for no decay.
    """

    warmup_rounds: int = 0
    total_rounds: int | None = None

    def __post_init__(self) -> None:
        if self.warmup_rounds < 0:
            raise errors.UserError(f"`warmup_rounds`={self.warmup_rounds}: must be 0 or more")
        if self.total_rounds is not None and self.total_rounds <= self.warmup_rounds:
            raise errors.UserError(
                f"`warmup_rounds`={self.warmup_rounds}: must be below the number of rounds, "
                f"{self.total_rounds}"
            )

    def factor(self, round_number: tf.Tensor) -> tf.Tensor:
        """Returns the factor for a round, a float32 scalar.

        Args:
          round_number: int32 scalar, 0 for the first round.
        """
        position = tf.cast(round_number, tf.float32)
        warmup = (position + 1.0) / (self.warmup_rounds + 1.0)
        decay = tf.ones([], tf.float32)
        if self.total_rounds is not None:
            remaining = float(self.total_rounds) - position
            decay = tf.maximum(remaining / float(self.total_rounds - self.warmup_rounds), 0.0)
        return tf.minimum(tf.minimum(warmup, decay), 1.0)
