"""Gaussian noise for sums of updates, from a key that the round is given.

Nothing here draws by itself: a round's noise is a function of its key and of the number of the
draw, so that a resumed run draws the same, and nobody without the key draws it at all.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf
from tensorflow_privacy.privacy.dp_query import tree_aggregation

from tff_nlp.privacy import keystream

# Third words of nonces: uses of one key.
SUM, COUNT, SHARE, ROUNDING, DROPOUT = range(5)

# Numbers of a tensor that is drawn together with others.
_SMALL = 2**16


def standard_normals(
    key: tf.Tensor, shapes: Sequence[Sequence[int] | tf.TensorShape], draw: tf.Tensor | int = 0
) -> list[tf.Tensor]:
    """Returns float64 tensors of independent standard normal numbers.

    Args:
      key: uint32[8]; all zeros give NaN.
      shapes: Shapes of the tensors.
      draw: Which draw of this key, below 2^32: a step of a client, a node of a tree.
    """
    sizes = [tf.TensorShape(shape).num_elements() for shape in shapes]
    small = [size for size in sizes if size <= _SMALL]
    # Small tensors are drawn together, which keeps the graph small: models have many.
    together = keystream.standard_normals(key, (0, draw, SUM), sum(small))
    parts = iter(tf.split(together, small) if small else [])
    found = []
    for index, (size, shape) in enumerate(zip(sizes, shapes, strict=True), start=1):
        if size <= _SMALL:
            flat = next(parts)
        else:
            flat = keystream.standard_normals(key, (index, draw, SUM), size)
        found.append(tf.reshape(flat, shape))
    return found


def power_of_two(value: tf.Tensor) -> tf.Tensor:
    """Returns float64, the largest power of two up to a positive value, exactly."""
    bits = tf.bitcast(tf.cast(value, tf.float64), tf.int64)
    exponent = tf.bitwise.bitwise_and(bits, tf.constant(0x7FF0000000000000, tf.int64))
    return tf.bitcast(exponent, tf.float64)


def snap(noisy: tf.Tensor, stddev: tf.Tensor) -> tf.Tensor:
    """Rounds noisy numbers to a grid of about a sixteenth of their noise's deviation.

    The low digits of a sum of floating point numbers show which numbers were added (Mironov 2012,
    "On Significance of the Least Significant Bits For Differential Privacy"). They are cut off:
    what is left is far coarser than the digits, and costs .03 % more variance.

    Args:
      noisy: float64, with noise.
      stddev: Standard deviation of the noise.
    """
    grid = power_of_two(stddev) / 16
    return tf.round(noisy / grid) * grid


class SumNoise(Protocol):
    """Noise for the sums of successive rounds."""

    def initial_state(self, specs: Any) -> Any:
        """Returns the state before the first round, for sums of these specs."""

    def next(
        self, state: Any, specs: Any, stddev: tf.Tensor, key: tf.Tensor
    ) -> tuple[list[tf.Tensor], Any]:
        """Returns the round's noise, float64 in the order of the specs, and the next state."""


@dataclasses.dataclass(frozen=True)
class IndependentNoise:
    """Fresh Gaussian noise in each round, whose key is fresh."""

    def initial_state(self, specs: Any) -> tuple:
        """Returns nothing: the key is all there is."""
        del specs
        return ()

    def next(
        self, state: Any, specs: Any, stddev: tf.Tensor, key: tf.Tensor
    ) -> tuple[list[tf.Tensor], Any]:
        """Returns the round's noise, of standard deviation `stddev`, and the next state."""
        shapes = [spec.shape for spec in tf.nest.flatten(specs)]
        scale = tf.cast(stddev, tf.float64)
        return [scale * part for part in standard_normals(key, shapes)], state


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


class NodeNoise(tree_aggregation.ValueGenerator):
    """Noise of the nodes of a tree, numbered in the order in which they are drawn."""

    def __init__(self, stddev: float, specs: Any, key: tf.Tensor) -> None:
        """Initializes the generator.

        Args:
          stddev: Standard deviation of a node's noise.
          specs: `tf.TensorSpec`s of a sum.
          key: uint32[8], the round's.
        """
        self._stddev = stddev
        self._specs = specs
        self._key = key

    def initialize(self) -> tf.Tensor:
        """Returns int32, the number of the first node."""
        return tf.zeros([], tf.int32)

    @tf.autograph.experimental.do_not_convert
    def next(self, state: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """Returns the noise of the next node, and the number of the one after it."""
        shapes = [spec.shape for spec in tf.nest.flatten(self._specs)]
        drawn = standard_normals(self._key, shapes, state)
        flat = [tf.cast(self._stddev * part, tf.float32) for part in drawn]
        return tf.nest.pack_sequence_as(self._specs, flat), state + 1


@dataclasses.dataclass(frozen=True)
class TreeNoise:
    """Noise that is correlated between rounds, so that the sum of all rounds carries little.

    DP-FTRL (Kairouz et al. 2021, algorithm 1 and appendix B): round t's sum is released with the
    difference between the tree's noise on the first t rounds and on the first t - 1.

    Attributes:
      stddev: Standard deviation of each node's noise, on the sum; a tree cannot follow a clipping
        norm that changes.
      efficient: Whether siblings help to estimate a node (Honaker 2015).
      restart_every: A fresh tree begins after so many rounds; None for a single tree.
    """

    stddev: float
    efficient: bool = True
    restart_every: int | None = None

    def _tree(self, specs: Any, key: tf.Tensor) -> Any:
        generator = NodeNoise(self.stddev, specs, key)
        if self.efficient:
            return tree_aggregation.EfficientTreeAggregator(generator)
        return tree_aggregation.TreeAggregator(generator)

    def initial_state(self, specs: Any) -> TreeNoiseState:
        """Returns an empty tree."""
        # TensorFlow Privacy draws the first node with the tree, when there is no key yet. Its
        # shape is kept, and `next` draws it, under the same number.
        tree = self._tree(specs, tf.zeros([8], tf.uint32)).init_state()
        number = tf.zeros_like(tree.value_generator_state)
        tree = _blank(tree)._replace(value_generator_state=number)
        return TreeNoiseState(tree, _zeros(specs), tf.zeros([], tf.int32))

    def next(
        self, state: TreeNoiseState, specs: Any, stddev: tf.Tensor, key: tf.Tensor
    ) -> tuple[list[tf.Tensor], TreeNoiseState]:
        """Returns what the tree's noise on the sum of all rounds changes by, and the next state."""
        del stddev  # fixed with the tree
        tree = self._tree(specs, key)
        current = tf.cond(
            tf.equal(state.leaves, 0), lambda: tree.reset_state(state.tree), lambda: state.tree
        )
        so_far, following = tree.get_cumsum_and_update(current)
        residual = tf.nest.map_structure(tf.subtract, so_far, state.so_far)
        leaves = state.leaves + 1
        if self.restart_every is not None:
            ended = (following, so_far, leaves)
            following, so_far, leaves = tf.cond(
                tf.greater_equal(leaves, self.restart_every),
                lambda: (_blank(ended[0]), _zeros(specs), tf.zeros([], tf.int32)),
                lambda: ended,
            )
        flat = [tf.cast(part, tf.float64) for part in tf.nest.flatten(residual)]
        return flat, TreeNoiseState(following, so_far, leaves)


def _blank(tree: tree_aggregation.TreeState) -> tree_aggregation.TreeState:
    """Returns a tree of one node that is still to be drawn."""
    nodes = tf.nest.map_structure(lambda buffer: tf.zeros_like(buffer[:1]), tree.level_buffer)
    return tree._replace(
        level_buffer=nodes, level_buffer_idx=tf.zeros_like(tree.level_buffer_idx[:1])
    )


def _zeros(specs: Any) -> Any:
    return tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), specs)
