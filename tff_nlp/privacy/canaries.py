"""Canary clients: random directions that make the privacy of a run measurable.

Andrew, Kairouz, Oh, Oprea, McMahan and Suriyakumar 2024, "One-shot Empirical Privacy Estimation for
Federated Learning", algorithms 1 and 2. A canary is a client that sends a random direction in place
of an update. In high dimension, canaries are nearly orthogonal to each other and to all other
updates, so one run can have many. For a canary that was never sent, the distribution of its cosine
with a release is known exactly (`tff_nlp.privacy.audit`).

Send canaries that are longer than the clipping norm. A correct mechanism clips them to the length
that the paper uses. A mechanism that does not clip lets them through unchanged. Canaries with
exactly the clipping norm would not reveal this fault.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tff_nlp import seeds

Shapes = Sequence[Sequence[int]]

# Larger tensors are drawn in pieces of this many values, several pieces in parallel.
_PIECE = 2**20


def canary(seed: int, index: int, shapes: Shapes, norm: float = 1.0) -> list[np.ndarray]:
    """Returns a canary's update: a uniformly random direction with a given norm.

    Each call draws the update again, so it does not need to be stored. A canary takes the memory of
    one update.

    Args:
      seed: Seed of the run.
      index: Number of the canary, from 0.
      shapes: Shapes of the arrays of an update.
      norm: L2 norm of all arrays together.

    Returns:
      float32 arrays of these shapes.
    """
    parts = [np.array(part) for part in directions(seed_of(seed), index, shapes)]
    factor = np.float32(norm / length(parts))
    for part in parts:
        part *= factor
    return parts


def seed_of(seed: int) -> tuple[int, int]:
    """Returns the seed of `directions` that derives from the run's seed."""
    return seeds.pair(seed, "canary")


def directions(seed: tuple[int, int], index: tf.Tensor | int, shapes: Shapes) -> list[tf.Tensor]:
    """Returns a canary before it is scaled: standard normal values, with a uniform direction.

    Clients draw their canary with this function in their own graph. An auditor draws it again.

    Args:
      seed: Result of `seed_of`.
      index: Number of the canary, int32.
      shapes: Shapes of the arrays of an update.

    Returns:
      float32 tensors of these shapes.
    """
    fold_in = tf.random.experimental.stateless_fold_in
    own = fold_in(tf.constant(seed, tf.int32), index)
    return [
        _standard_normal(fold_in(own, number), tf.TensorShape(shape))
        for number, shape in enumerate(shapes)
    ]


def _standard_normal(seed: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Returns float32 values from TensorFlow's Philox generator. Canaries need no secret noise."""
    size = shape.num_elements()
    if size <= _PIECE:
        return tf.random.stateless_normal(shape, seed)
    pieces = [
        tf.random.stateless_normal(
            [min(_PIECE, size - start)], tf.random.experimental.stateless_fold_in(seed, start)
        )
        for start in range(0, size, _PIECE)
    ]
    return tf.reshape(tf.concat(pieces, axis=0), shape)


def length(arrays: Sequence[np.ndarray]) -> float:
    """Returns the L2 norm of all arrays together."""
    return float(np.sqrt(sum(float(np.vdot(array, array)) for array in arrays)))


def cosines(released: Sequence[np.ndarray], seed: int, count: int, shapes: Shapes) -> np.ndarray:
    """Returns the cosine between each canary and a release, float64[count].

    With one release per round, take the elementwise maximum over the rounds (algorithm 2), and give
    the number of releases to the functions of `tff_nlp.privacy.audit`.

    Args:
      released: The release, as arrays of these shapes: the final weights minus the initial ones, or
        the mean of one round. You may subtract what an adversary knows (the other clients' part);
        then canaries are easier to see.
      seed: Seed of the run.
      count: Number of canaries. Some of them may not have been sent.
      shapes: Shapes of the arrays of an update.

    Raises:
      ValueError: If the shapes differ, or the release is zero or not finite.
    """
    if [tuple(array.shape) for array in released] != [tuple(shape) for shape in shapes]:
        raise ValueError("the release and the canaries have different shapes")
    total = length(released)
    if not 0 < total < np.inf:
        raise ValueError(f"the release has norm {total}, so it has no direction")
    found = np.empty(count)
    for index in range(count):
        parts = canary(seed, index, shapes)
        products = (np.vdot(mine, theirs) for mine, theirs in zip(parts, released, strict=True))
        found[index] = sum(map(float, products)) / total
    return found
