"""The geometric median: the point with the least sum of distances to all updates.

Pillutla et al. 2022, "Robust Aggregation for Federated Learning", algorithm 2, which is Weiszfeld's
algorithm with distances of at least nu.
"""

import tensorflow as tf

from tff_nlp.aggregation.robust import stack as stacks

_MOST_STEPS = 200
# The steps end where the point moves by less than this part of its median distance to the updates.
_TOLERANCE = 1e-6
_FAR = 1e30


def geometric_median(stack: stacks.Stack) -> stacks.Update:
    """Returns the geometric median of the updates.

    The steps begin at the mean of the half of the updates that is closest to all others. A single
    huge update moves the mean of all far away, and the way back would take many steps.
    """
    apart = tf.sqrt(stacks.squared_distances(stack))
    # An overflow must not make the sums of all rows infinite.
    near = tf.reduce_sum(tf.minimum(apart, _FAR), axis=1)
    half = (stacks.clients(stack) + 1) // 2
    begin = stacks.mean(stacks.take(stack, tf.argsort(near, stable=True)[:half]))

    def step(number: tf.Tensor, _: tf.Tensor, at: stacks.Update) -> tuple[tf.Tensor, ...]:
        distances = tf.sqrt(stacks.squared_distances_to(stack, at))
        scale = tf.sort(distances)[half - 1]
        weights = tf.math.divide_no_nan(scale, tf.maximum(distances, _TOLERANCE * scale))
        weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights))
        # If half of the updates are one point, then it is the median.
        new = tuple(
            tf.where(scale > 0, tf.tensordot(weights, part, 1), old)
            for part, old in zip(stack, at, strict=True)
        )
        moved = tf.linalg.global_norm([one - old for one, old in zip(new, at, strict=True)])
        return number + 1, moved > _TOLERANCE * scale, new

    _, _, found = tf.while_loop(
        lambda number, moves, _: moves & (number < _MOST_STEPS),
        step,
        (tf.constant(0), tf.constant(True), begin),
    )
    return found
