"""Bulyan: Krum chooses updates one after the other, then each coordinate is trimmed.

El Mhamdi et al. 2018, "The Hidden Vulnerability of Distributed Learning in Byzantium", section 4.
With n clients and f attackers, Krum chooses n - 2 f updates. In each coordinate, the n - 4 f values
that are closest to the median of these are averaged.
"""

import tensorflow as tf

from tff_nlp.aggregation.robust import coordinates, krum
from tff_nlp.aggregation.robust import stack as stacks


def bulyan(stack: stacks.Stack, attackers: tf.Tensor) -> stacks.Update:
    """Returns the trimmed mean of the updates that Krum chooses.

    Args:
      stack: The updates.
      attackers: int32, the number f.
    """
    count = stacks.clients(stack)
    chosen = _choose(stacks.squared_distances(stack), attackers, count - 2 * attackers)
    return coordinates.around_median(stacks.take(stack, chosen), count - 4 * attackers)


def _choose(distances: tf.Tensor, attackers: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Returns the rows that Krum chooses, int32[wanted]. A chosen update is no neighbour."""

    def choose(chosen: tf.Tensor, left: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        among = tf.gather(tf.gather(distances, left), left, axis=1)
        best = krum.best_first(among, tf.size(left) - attackers - 2)[0]
        return (
            tf.concat([chosen, left[best : best + 1]], 0),
            tf.concat([left[:best], left[best + 1 :]], 0),
        )

    chosen, _ = tf.while_loop(
        lambda chosen, _: tf.size(chosen) < wanted,
        choose,
        (tf.zeros([0], tf.int32), tf.range(tf.shape(distances)[0])),
        shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None])),
    )
    return chosen
