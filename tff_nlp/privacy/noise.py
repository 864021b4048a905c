"""Gaussian noise for sums of updates, drawn from seeds, so that a resumed run draws the same.

TensorFlow Privacy's queries draw from TensorFlow's global generator, which neither repeats nor
resumes. Here the state of the noise is the number of the round, or TensorFlow Privacy's own tree,
whose generator does keep a seed. The generator is Philox: good statistics, but no secret; who may
learn the run's seed may learn the noise.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf
from tensorflow_privacy.privacy.dp_query import tree_aggregation

# Larger tensors are drawn in pieces of so many numbers, several at once.
_PIECE = 2**20


def standard_normals(
    seed: tf.Tensor, shapes: Iterable[Sequence[int] | tf.TensorShape]
) -> list[tf.Tensor]:
    """Returns float32 tensors of independent standard normal numbers.

    Args:
      seed: int32[2].
      shapes: Of the tensors.
    """
    fold_in = tf.random.experimental.stateless_fold_in
    return [
        _standard_normal(fold_in(seed, index), tf.TensorShape(shape))
        for index, shape in enumerate(shapes)
    ]


def _standard_normal(seed: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
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


class SumNoise(Protocol):
    """Noise for the sums of successive rounds."""

    def initial_state(self, specs: Any) -> Any:
        """Returns the state before the first round, for sums of these specs."""

    def next(self, state: Any, specs: Any, stddev: tf.Tensor) -> tuple[Any, Any]:
        """Returns the round's noise, like the specs, and the next state."""


@dataclasses.dataclass(frozen=True)
class IndependentNoise:
    """Fresh Gaussian noise in each round.

    Attributes:
      seed: (int, int), each below 2^31.
    """

    seed: tuple[int, int]

    def initial_state(self, specs: Any) -> tf.Tensor:
        """Returns int32, the number of the first round."""
        del specs
        return tf.zeros([], tf.int32)

    def next(self, state: tf.Tensor, specs: Any, stddev: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """Returns the round's noise, of standard deviation `stddev`, and the next state."""
        seed = tf.random.experimental.stateless_fold_in(tf.constant(self.seed, tf.int32), state)
        shapes = [spec.shape for spec in tf.nest.flatten(specs)]
        flat = [stddev * part for part in standard_normals(seed, shapes)]
        return tf.nest.pack_sequence_as(specs, flat), state + 1


class TreeNoiseState(NamedTuple):
    """State of `TreeNoise`.

    Attributes:
      tree: TensorFlow Privacy's tree.
      so_far: The noise on the sum of all rounds of this tree up to now.
      leaves: int32, rounds in this tree.
    """

    tree: Any
    so_far: Any
    leaves: tf.Tensor


@dataclasses.dataclass(frozen=True)
class TreeNoise:
    """Noise that is correlated between rounds, so that the sum of all rounds carries little.

    DP-FTRL (Kairouz et al. 2021, algorithm 1 and appendix B): round t's sum is released with the
    difference between the tree's noise on the first t rounds and on the first t - 1.

    Attributes:
      seed: As TensorFlow Privacy takes it.
      stddev: Of each node's noise, on the sum; a tree cannot follow a clipping norm that changes.
      efficient: Whether siblings help to estimate a node (Honaker 2015).
      restart_every: A fresh tree begins after so many rounds; None for a single tree.
    """

    seed: int
    stddev: float
    efficient: bool = True
    restart_every: int | None = None

    def _tree(self, specs: Any) -> Any:
        generator = tree_aggregation.GaussianNoiseGenerator(self.stddev, specs, self.seed)
        if self.efficient:
            return tree_aggregation.EfficientTreeAggregator(generator)
        return tree_aggregation.TreeAggregator(generator)

    def initial_state(self, specs: Any) -> TreeNoiseState:
        """Returns an empty tree."""
        return TreeNoiseState(self._tree(specs).init_state(), _zeros(specs), tf.zeros([], tf.int32))

    def next(
        self, state: TreeNoiseState, specs: Any, stddev: tf.Tensor
    ) -> tuple[Any, TreeNoiseState]:
        """Returns what the tree's noise on the sum of all rounds changes by, and the next state."""
        del stddev  # fixed with the tree
        tree = self._tree(specs)
        so_far, tree_state = tree.get_cumsum_and_update(state.tree)
        residual = tf.nest.map_structure(tf.subtract, so_far, state.so_far)
        leaves = state.leaves + 1
        if self.restart_every is not None:
            full = tf.greater_equal(leaves, self.restart_every)
            ended = (tree_state, so_far, leaves)
            tree_state, so_far, leaves = tf.cond(
                full,
                lambda: (tree.reset_state(ended[0]), _zeros(specs), tf.zeros([], tf.int32)),
                lambda: ended,
            )
        return residual, TreeNoiseState(tree_state, so_far, leaves)


def _zeros(specs: Any) -> Any:
    return tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), specs)
