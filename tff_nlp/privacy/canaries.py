"""Canary clients: random directions whose traces in what a run releases tell how private it is.

Andrew, Kairouz, Oh, Oprea, McMahan and Suriyakumar 2024, "One-shot Empirical Privacy Estimation for
Federated Learning", algorithms 1 and 2. A canary is a client that sends a random direction in place
of an update. In high dimension canaries are nearly orthogonal to each other and to all else, so
that one run has room for many; and of a canary that was never sent, the law of the cosine with what
is released is known exactly (`tff_nlp.privacy.audit`).

Send canaries that are longer than the clipping norm: a mechanism that clips makes them what the
paper has, and one that forgets to clip lets them through, which canaries of the clipping norm's own
length would never show.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tff_nlp import seeds

Shapes = Sequence[Sequence[int]]

# Larger tensors are drawn in pieces of so many numbers, several at once.
_PIECE = 2**20


def dimension_of(shapes: Shapes) -> int:
    """Returns how many numbers an update has."""
    return sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes)


def canary(seed: int, index: int, shapes: Shapes, norm: float = 1.0) -> list[np.ndarray]:
    """Returns one canary's update: a uniformly random direction of a given length.

    It is drawn anew at each call, so that nobody needs to keep it: one canary takes the memory and
    about the time of one update.

    Args:
      seed: The run's.
      index: Which canary, from 0.
      shapes: The shapes of an update's arrays.
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
    """Returns what `directions` takes, from the run's seed."""
    return seeds.pair(seed, "canary")


def directions(seed: tuple[int, int], index: tf.Tensor | int, shapes: Shapes) -> list[tf.Tensor]:
    """Returns a canary before it has a length: standard normal numbers, which have no direction.

    A client draws its canary in its own graph, an auditor draws it again: both come here.

    Args:
      seed: Of `seed_of`.
      index: int32, which canary.
      shapes: The shapes of an update's arrays.
    """
    fold_in = tf.random.experimental.stateless_fold_in
    own = fold_in(tf.constant(seed, tf.int32), index)
    return [
        _standard_normal(fold_in(own, number), tf.TensorShape(shape))
        for number, shape in enumerate(shapes)
    ]


def _standard_normal(seed: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Returns float32 numbers by TensorFlow's Philox: a canary hides nothing."""
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
    """Returns float64[count], the cosine between each canary and what was released.

    For the release of every round, take the elementwise maximum over rounds (algorithm 2); what is
    compared with it then has to know how many rounds there were.

    Args:
      released: What the run releases, as arrays of these shapes: the final weights minus the
        initial ones, or one round's mean. What an adversary knows of it anyway (the other clients'
        part) may be taken off: that leaves the canaries easier to see.
      seed: The run's.
      count: How many canaries; those that were never sent may be among them.
      shapes: The shapes of an update's arrays.

    Raises:
      ValueError: If the shapes differ, or nothing but zeros was released.
    """
    if [tuple(array.shape) for array in released] != [tuple(shape) for shape in shapes]:
        raise ValueError("what was released has other shapes than the canaries")
    total = length(released)
    if not 0 < total < np.inf:
        raise ValueError(f"what was released has norm {total}: no direction to compare with")
    found = np.empty(count)
    for index in range(count):
        parts = canary(seed, index, shapes)
        products = (np.vdot(mine, theirs) for mine, theirs in zip(parts, released, strict=True))
        found[index] = sum(map(float, products)) / total
    return found


def coins(seed: int, count: int) -> np.ndarray:
    """Returns bool[count]: which canaries to send, each with probability one half.

    For `audit.guess_bound`, which has to guess them.
    """
    return seeds.generator(seed, "canary_coins").random(count) < 0.5


def exposures(observed: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Returns float64[observed]: how far ahead of the references each score ranks, in bits.

    Carlini et al. 2019, "The Secret Sharer", definition 5: log2 of the number of references minus
    log2 of the rank, which is 1 plus the number of references that do at least as well. Chance
    alone gives k bits or more with probability about 2^-k.

    Args:
      observed: float64[n], scores of what was inserted, the highest being the most conspicuous.
      references: float64[m], scores of what was not inserted but might have been.
    """
    ahead = len(references) - np.searchsorted(np.sort(references), observed, side="left")
    return np.log2(len(references)) - np.log2(1 + ahead)
