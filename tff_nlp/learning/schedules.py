"""Learning-rate schedules over rounds."""

import dataclasses

import tensorflow as tf

from tff_nlp import errors


@dataclasses.dataclass(frozen=True)
class LinearSchedule:
    """Linear warm-up, then constant or linear decay to zero, as a factor on the client's rate.

    The unit is the round and not the local step: clients forget their optimizer between rounds,
    so that only the server knows how far training is.

    Attributes:
      warmup_rounds: Round r below this one uses the factor (r + 1) / (warmup_rounds + 1).
      total_rounds: The round at which the factor reaches zero, or None for no decay.
    """

    warmup_rounds: int = 0
    total_rounds: int | None = None

    def __post_init__(self) -> None:
        if self.warmup_rounds < 0:
            raise errors.UserError(f"--warmup_rounds={self.warmup_rounds}: must be 0 or more")
        if self.total_rounds is not None and self.total_rounds <= self.warmup_rounds:
            raise errors.UserError(
                f"--warmup_rounds={self.warmup_rounds}: must be below the number of rounds that "
                f"the rate decays over, {self.total_rounds}"
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
