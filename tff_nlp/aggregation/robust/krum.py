"""Krum and Multi-Krum: the updates that lie closest to their neighbours.

Blanchard et al. 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
section 4. With n clients and f attackers, the score of an update is the sum of the squared
distances to its n - f - 2 closest neighbours.
"""

import tensorflow as tf

from tff_nlp.aggregation.robust import stack as stacks


def scores(distances: tf.Tensor, neighbours: tf.Tensor) -> tf.Tensor:
    """Returns the score of each update, float32[n]. Smaller is better.

    Args:
      distances: float32[n, n], squared distances.
      neighbours: int32, number of neighbours that count. At least 1 and at most n - 1 are taken.
    """
    count = tf.shape(distances)[0]
    others = tf.linalg.set_diag(distances, tf.fill([count], float("inf")))
    taken = tf.minimum(tf.maximum(neighbours, 1), count - 1)
    return tf.reduce_sum(tf.sort(others, axis=1)[:, :taken], axis=1)


def best_first(distances: tf.Tensor, neighbours: tf.Tensor) -> tf.Tensor:
    """Returns the rows of the updates by their scores, int32[n].

    Of equal scores, the one with the smaller distance to all others is first. Two updates that are
    each other's only neighbour always have equal scores, and the order of clients must not decide.

    Args:
      distances: float32[n, n], squared distances.
      neighbours: See `scores`.
    """
    by_distance = tf.argsort(tf.reduce_sum(distances, axis=1), stable=True)
    found = tf.gather(scores(distances, neighbours), by_distance)
    return tf.gather(by_distance, tf.argsort(found, stable=True))


def krum(stack: stacks.Stack, attackers: tf.Tensor) -> stacks.Update:
    """Returns the update with the best score.

    Args:
      stack: The updates.
      attackers: int32, the number f.
    """
    return tuple(part[0] for part in _best(stack, attackers, tf.constant(1)))


def multi_krum(stack: stacks.Stack, attackers: tf.Tensor) -> stacks.Update:
    """Returns the mean of the n - f updates with the best scores.

    Args:
      stack: The updates.
      attackers: int32, the number f.
    """
    return stacks.mean(_best(stack, attackers, stacks.clients(stack) - attackers))


def _best(stack: stacks.Stack, attackers: tf.Tensor, kept: tf.Tensor) -> stacks.Stack:
    """Returns the updates with the best scores."""
    neighbours = stacks.clients(stack) - attackers - 2
    order = best_first(stacks.squared_distances(stack), neighbours)
    return stacks.take(stack, order[:kept])
