"""Centered clipping: each update is clipped to a ball around the last round's result.

Karimireddy et al. 2021, "Learning from History for Byzantine Robust Optimization", algorithm 2.
"""

import tensorflow as tf

from tff_nlp.aggregation.robust import stack as stacks

# Number of times that updates are clipped and the center moves, in a round.
_STEPS = 3


def centered_clipping(
    stack: stacks.Stack, previous: stacks.Update, radius: float | None
) -> stacks.Update:
    """Returns the center after three steps of v + mean(clip(x - v)).

    Args:
      stack: The updates.
      previous: The result of the last round, where the center v begins.
      radius: Radius tau of the ball; None for the median of the distances to the center, which
        needs no tuning. The paper has a fixed radius.
    """
    center = previous
    for _ in range(_STEPS):
        distances = tf.sqrt(stacks.squared_distances_to(stack, center))
        ordered, count = tf.sort(distances), stacks.clients(stack)
        within = ordered[(count - 1) // 2] if radius is None else tf.constant(radius)
        factors = tf.minimum(1.0, tf.math.divide_no_nan(within, distances)) / tf.cast(
            count, tf.float32
        )
        center = tuple(
            at + tf.tensordot(factors, part - at, 1) for part, at in zip(stack, center, strict=True)
        )
    return center
