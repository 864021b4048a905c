"""Gaussian noise for sums of updates, derived from the key of a round.

There is no hidden random state: the noise of a round is a function of its key and the number of the
draw. So a resumed run draws the same noise. Without the key, the noise cannot be computed.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf
from tensorflow_privacy.privacy.dp_query import tree_aggregation

from tff_nlp.privacy import keystream

# Third word of the nonce: the use of a key.
SUM, COUNT, SHARE, ROUNDING, DROPOUT = range(5)

# Tensors with at most this many numbers are drawn together.
_SMALL = 2**16


def standard_normals(
    key: tf.Tensor, shapes: Sequence[Sequence[int] | tf.TensorShape], draw: tf.Tensor | int = 0
) -> list[tf.Tensor]:
    """Returns float64 tensors of independent standard normal numbers.

    Args:
      key: Key, uint32[8]. A key of zeros gives NaN.
      shapes: Shapes of the tensors.
      draw: Number of the draw with this key, below 2^32: a step of a client, or a node of a tree.
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
    """Returns the largest power of two that is at most a positive value, exactly, float64."""
    bits = tf.bitcast(tf.cast(value, tf.float64), tf.int64)
    exponent = tf.bitwise.bitwise_and(bits, tf.constant(0x7FF0000000000000, tf.int64))
    return tf.bitcast(exponent, tf.float64)


def snap(noisy: tf.Tensor, stddev: tf.Tensor) -> tf.Tensor:
    """Rounds noisy numbers to a grid of about a sixteenth of the noise's standard deviation.

    The last digits of a sum of floating point numbers reveal which numbers were added (Mironov
    2012, "On Significance of the Least Significant Bits For Differential Privacy"). The grid is
    much coarser than these digits, so rounding removes them. It increases the variance by 0.03 %.

    Args:
      noisy: Numbers with noise, float64.
      stddev: Standard deviation of the noise.
    """
    grid = power_of_two(stddev) / 16
    return tf.round(noisy / grid) * grid


class SumNoise(Protocol):
    """Noise for the sums of successive rounds."""

    def initial_state(self, specs: Any) -> Any:
        """Returns the state before the first round.

        Args:
          specs: `tf.TensorSpec`s of a sum.
        """

    def next(
        self, state: Any, specs: Any, stddev: tf.Tensor, key: tf.Tensor
    ) -> tuple[list[tf.Tensor], Any]:
        """Returns the round's noise and the next state.

        Args:
          state: State before the round.
          specs: `tf.TensorSpec`s of a sum.
          stddev: Standard deviation of the noise.
          key: Key of the round, uint32[8].

        Returns:
          float64 tensors in the order of the specs, and the state.
        """


@dataclasses.dataclass(frozen=True)
class IndependentNoise:
    """Gaussian noise that is independent between rounds, because each round has a new key."""

    def initial_state(self, specs: Any) -> tuple:
        """Returns an empty state, because the noise depends only on the key."""
        del specs
        return ()

    def next(
        self, state: Any, specs: Any, stddev: tf.Tensor, key: tf.Tensor
    ) -> tuple[list[tf.Tensor], Any]:
        """Returns the round's noise with standard deviation `stddev`, and the next state."""
        shapes = [spec.shape for spec in tf.nest.flatten(specs)]
        scale = tf.cast(stddev, tf.float64)
        return [scale * part for part in standard_normals(key, shapes)], state


class TreeNoiseState(NamedTuple):
    """State of `TreeNoise`.

    Attributes:
      tree: State of TensorFlow Privacy's tree.
      so_far: Noise on the sum of all rounds of this tree so far.
      leaves: Number of rounds in this tree, int32.
    """

    tree: Any
    so_far: Any
    leaves: tf.Tensor


class NodeNoise(tree_aggregation.ValueGenerator):
    """Noise of the nodes of a tree. Nodes are numbered in the order in which they are drawn."""

    def __init__(self, stddev: float, specs: Any, key: tf.Tensor) -> None:
        """Initializes the generator.

        Args:
          stddev: Standard deviation of a node's noise.
          specs: `tf.TensorSpec`s of a sum.
          key: Key of the round, uint32[8].
        """
        self._stddev = stddev
        self._specs = specs
        self._key = key

    def initialize(self) -> tf.Tensor:
        """Returns the number of the first node, int32."""
        return tf.zeros([], tf.int32)

    @tf.autograph.experimental.do_not_convert
    def next(self, state: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """Returns the noise of the next node, and the number of the node after it."""
        shapes = [spec.shape for spec in tf.nest.flatten(self._specs)]
        drawn = standard_normals(self._key, shapes, state)
        flat = [tf.cast(self._stddev * part, tf.float32) for part in drawn]
        return tf.nest.pack_sequence_as(self._specs, flat), state + 1


@dataclasses.dataclass(frozen=True)
class TreeNoise:
    """Noise that is correlated between rounds, so that the sum over all rounds has little noise.

    DP-FTRL (Kairouz et al. 2021, algorithm 1 and appendix B): the noise of round t is the
    difference between the tree's noise on the first t rounds and its noise on the first t - 1
    rounds.

    Attributes:
      stddev: Standard deviation of each node's noise on the sum. It is fixed, so a tree does not
        work with a clipping norm that adapts.
      efficient: Whether the estimate of a node also uses its siblings (Honaker 2015).
      restart_every: Number of rounds after which a new tree begins. None for a single tree.
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
        # TensorFlow Privacy draws the first node when it makes the tree, but there is no key yet.
        # Only the shape of this node is kept. `next` draws the node with the same number.
        tree = self._tree(specs, tf.zeros([8], tf.uint32)).init_state()
        number = tf.zeros_like(tree.value_generator_state)
        tree = _blank(tree)._replace(value_generator_state=number)
        return TreeNoiseState(tree, _zeros(specs), tf.zeros([], tf.int32))

    def next(
        self, state: TreeNoiseState, specs: Any, stddev: tf.Tensor, key: tf.Tensor
    ) -> tuple[list[tf.Tensor], TreeNoiseState]:
        """Returns the change of the tree's noise on the sum of all rounds, and the next state."""
        del stddev  # the tree has a fixed one
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
    """Returns a tree with one node that is not drawn yet."""
    nodes = tf.nest.map_structure(lambda buffer: tf.zeros_like(buffer[:1]), tree.level_buffer)
    return tree._replace(
        level_buffer=nodes, level_buffer_idx=tf.zeros_like(tree.level_buffer_idx[:1])
    )


def _zeros(specs: Any) -> Any:
    return tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), specs)
