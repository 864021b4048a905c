"""Numbers in 8 or 4 bits instead of 32: QSGD (Alistarh et al. 2017, section 3.1).

Each tensor is scaled by its largest magnitude and rounded to one of 2^(bits-1) - 1 levels or their
negatives. It is rounded up or down at random, so that the expected value is unchanged. Zeros stay
zeros.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tff_nlp import errors
from tff_nlp.aggregation.compression import codec

BITS = (8, 4)


@dataclasses.dataclass(frozen=True)
class Rounding:
    """The codec.

    Attributes:
      bits: Bits per number, 8 or 4.
      is_biased: See `codec.Codec`.
    """

    bits: int
    is_biased: bool = dataclasses.field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise errors.UserError(f"`upload_bits`={self.bits}: must be 32, 8 or 4")

    @property
    def setting(self) -> str:
        """See `codec.Codec`."""
        return f"`upload_bits`={self.bits}"

    def encode(self, tensors: codec.Tensors, seed: tf.Tensor) -> Any:
        """Returns the levels of each tensor (`quantize`) and the distances between two levels."""
        parts = [
            quantize(part, self.bits, tf.random.experimental.stateless_fold_in(seed, number))
            for number, part in enumerate(tensors)
        ]
        packed, steps = zip(*parts, strict=True)
        return tuple(packed), tf.stack(steps)

    def decode(self, sent: Any, shapes: Sequence[tf.TensorShape]) -> list[tf.Tensor]:
        """See `codec.Codec`."""
        packed, steps = sent
        return [
            dequantize(part, steps[number], self.bits, shape)
            for number, (part, shape) in enumerate(zip(packed, shapes, strict=True))
        ]


def quantize(values: tf.Tensor, bits: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Rounds a tensor at random to a few levels.

    Args:
      values: float32 tensor of a static shape.
      bits: Bits per number, 8 or 4.
      seed: Seed of the random rounding, int32[2].

    Returns:
      The levels, uint8[ceil(size * bits / 8)] (two levels per byte for 4 bits), and the distance
      between two levels, float32.
    """
    levels = 2 ** (bits - 1) - 1
    step = tf.reduce_max(tf.abs(values)) / levels if values.shape.num_elements() else 0.0
    flat = tf.math.divide_no_nan(tf.reshape(values, [-1]), step)
    rounded = tf.floor(flat + tf.random.stateless_uniform(tf.shape(flat), seed))
    # The float sum may round up to the next integer, which is outside of the range.
    rounded = tf.clip_by_value(rounded, -levels, levels)
    unsigned = tf.cast(tf.cast(rounded, tf.int32) + levels, tf.uint8)
    if bits == 4:
        pairs = tf.reshape(tf.pad(unsigned, [[0, unsigned.shape[0] % 2]]), [-1, 2])
        unsigned = pairs[:, 0] * 16 + pairs[:, 1]
    return unsigned, tf.convert_to_tensor(step, tf.float32)


def dequantize(packed: tf.Tensor, step: tf.Tensor, bits: int, shape: tf.TensorShape) -> tf.Tensor:
    """Returns the float32 values of the result of `quantize`.

    Args:
      packed: The levels, uint8[ceil(size * bits / 8)].
      step: The distance between two levels, float32.
      bits: Bits per number, 8 or 4.
      shape: Shape of the values.
    """
    if bits == 4:
        pairs = tf.stack([packed // 16, packed % 16], axis=1)
        packed = tf.reshape(pairs, [-1])[: shape.num_elements()]
    levels = 2 ** (bits - 1) - 1
    return tf.reshape((tf.cast(packed, tf.float32) - levels) * step, shape)
