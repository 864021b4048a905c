"""The largest numbers of an update and their positions.

Aji and Heafield 2017, "Sparse Communication for Distributed Gradient Descent", section 3, with the
numbers of all tensors together. What is left out is not lost if the client keeps it
(`error_feedback`; Stich et al. 2018, "Sparsified SGD with Memory").
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tff_nlp import errors
from tff_nlp.aggregation.compression import bits, codec, names


@dataclasses.dataclass(frozen=True)
class TopK:
    """The codec.

    Attributes:
      fraction: Fraction of the numbers that is sent, above 0 and at most 1.
      floats: How the numbers themselves are sent.
      setting: See `codec.Codec`.
      is_biased: See `codec.Codec`.
    """

    fraction: float = names.FRACTIONS[names.TOP_K]
    floats: codec.Codec = codec.Floats()
    setting: str = dataclasses.field(default=f"`compression`={names.TOP_K}", init=False)
    is_biased: bool = dataclasses.field(default=True, init=False)

    def __post_init__(self) -> None:
        check_fraction(self.fraction)

    def encode(self, tensors: codec.Tensors, seed: tf.Tensor) -> Any:
        """Returns the numbers, and their positions as `bits.pack_positions` packs them."""
        numbers = codec.flat(tensors)
        size = numbers.shape[0]
        kept = kept_of(self.fraction, size)
        positions = largest(tf.abs(numbers), kept)
        values = tf.ensure_shape(tf.gather(numbers, positions), [kept])
        return self.floats.encode([values], seed), *bits.pack_positions(positions, size)

    def decode(self, sent: Any, shapes: Sequence[tf.TensorShape]) -> list[tf.Tensor]:
        """See `codec.Codec`. All other numbers are 0."""
        floats, lower, row = sent
        size = codec.count(shapes)
        kept = kept_of(self.fraction, size)
        (values,) = self.floats.decode(floats, [tf.TensorShape([kept])])
        positions = bits.unpack_positions(lower, row, kept, size)
        return codec.unflat(tf.scatter_nd(positions[:, tf.newaxis], values, [size]), shapes)


def check_fraction(fraction: float) -> None:
    """Raises a UserError for a fraction that is not above 0 and at most 1."""
    if not 0 < fraction <= 1:
        raise errors.UserError(f"`compression_fraction`={fraction:g}: must be above 0, at most 1")


def kept_of(fraction: float, size: int) -> int:
    """Returns how many of `size` numbers are sent: at least one, unless there are none."""
    return min(size, math.ceil(fraction * size))


def largest(values: tf.Tensor, kept: int) -> tf.Tensor:
    """Returns the positions of the largest values in ascending order, int32[kept].

    Of equal values, the first ones count.

    Args:
      values: float32 tensor of one axis and a static size.
      kept: Number of positions.
    """
    size = values.shape[0]
    if kept == size:
        return tf.range(size)
    # Linear in the size, where a sorted top-k is not.
    bound = -tf.raw_ops.NthElement(input=-values, n=kept - 1, reverse=False)
    above, equal = tf.where(values > bound)[:, 0], tf.where(tf.equal(values, bound))[:, 0]
    chosen = tf.concat([above, equal], 0)[:kept]
    return tf.ensure_shape(tf.sort(tf.cast(chosen, tf.int32)), [kept])
