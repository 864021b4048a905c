"""The signs of the numbers, and their mean magnitude for each tensor.

Bernstein et al. 2018, "signSGD", with the scale of Karimireddy et al. 2019, "Error Feedback Fixes
SignSGD and other Gradient Compression Schemes", algorithm 1: the mean magnitude. With it, signs
and what is left out of them (`error_feedback`) add up to the update.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tff_nlp.aggregation.compression import bits, codec, names


@dataclasses.dataclass(frozen=True)
class Signs:
    """The codec. A zero has the sign of a positive number.

    Attributes:
      setting: See `codec.Codec`.
      is_biased: See `codec.Codec`.
    """

    setting: str = dataclasses.field(default=f"`compression`={names.SIGNS}", init=False)
    is_biased: bool = dataclasses.field(default=True, init=False)

    def encode(self, tensors: codec.Tensors, seed: tf.Tensor) -> Any:
        """Returns one bit for each number, and one magnitude for each tensor."""
        del seed
        sizes = [max(part.shape.num_elements(), 1) for part in tensors]
        sums = [tf.reduce_sum(tf.abs(part)) for part in tensors]
        scales = tf.stack([total / size for total, size in zip(sums, sizes, strict=True)])
        return bits.pack(codec.flat(tensors) >= 0), scales

    def decode(self, sent: Any, shapes: Sequence[tf.TensorShape]) -> list[tf.Tensor]:
        """See `codec.Codec`."""
        packed, scales = sent
        positive = codec.unflat(bits.unpack(packed, codec.count(shapes)), shapes)
        return [
            tf.where(part, scales[number], -scales[number]) for number, part in enumerate(positive)
        ]
