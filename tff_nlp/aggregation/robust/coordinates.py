"""The median and the trimmed mean of each coordinate.

Yin et al. 2018, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
section 3.
"""

import tensorflow as tf

from tff_nlp.aggregation.robust import stack as stacks


def median(stack: stacks.Stack) -> stacks.Update:
    """Returns the median of each coordinate: for an even number, the mean of the middle two."""
    return tuple(_median(part) for part in stack)


def trimmed_mean(stack: stacks.Stack, attackers: tf.Tensor) -> stacks.Update:
    """Returns the mean of each coordinate without its f smallest and its f largest values.

    Args:
      stack: The updates.
      attackers: int32, the number f.
    """
    last = stacks.clients(stack) - attackers
    return tuple(tf.reduce_mean(tf.sort(part, axis=0)[attackers:last], axis=0) for part in stack)


def around_median(stack: stacks.Stack, kept: tf.Tensor) -> stacks.Update:
    """Returns the mean of those values of each coordinate that are closest to its median.

    Args:
      stack: The updates.
      kept: int32, number of values that are kept of each coordinate.
    """
    return tuple(_around_median(part, kept) for part in stack)


def _median(part: tf.Tensor) -> tf.Tensor:
    ordered, count = tf.sort(part, axis=0), tf.shape(part)[0]
    # Halves before the sum, which could overflow.
    return 0.5 * ordered[(count - 1) // 2] + 0.5 * ordered[count // 2]


def _around_median(part: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    rows = tf.reshape(part, [tf.shape(part)[0], -1])
    order = tf.argsort(tf.abs(rows - _median(rows)), axis=0, stable=True)[:kept]
    columns = tf.broadcast_to(tf.range(tf.shape(rows)[1]), tf.shape(order))
    closest = tf.gather_nd(rows, tf.stack([order, columns], axis=-1))
    return tf.reshape(tf.reduce_mean(closest, axis=0), tf.shape(part)[1:])
