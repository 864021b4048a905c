"""Random numbers of an update, made larger so that the expected value is the update.

Konecny et al. 2016, "Federated Learning: Strategies for Improving Communication Efficiency",
section 3 (subsampling), with a choice that costs no sorting: the numbers are divided into k
parts of equal size (up to one), and one number of each part is chosen.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.aggregation.compression import codec, names, top_k


@dataclasses.dataclass(frozen=True)
class RandomK:
    """The codec.

    Attributes:
      fraction: Fraction of the numbers that is sent, above 0 and at most 1.
      floats: How the numbers themselves are sent.
      setting: See `codec.Codec`.
      is_biased: See `codec.Codec`.
    """

    fraction: float = names.FRACTIONS[names.RANDOM_K]
    floats: codec.Codec = codec.Floats()
    setting: str = dataclasses.field(default=f"`compression`={names.RANDOM_K}", init=False)
    is_biased: bool = dataclasses.field(default=False, init=False)

    def __post_init__(self) -> None:
        top_k.check_fraction(self.fraction)

    def encode(self, tensors: codec.Tensors, seed: tf.Tensor) -> Any:
        """Returns the numbers, and the seed from which their positions follow."""
        numbers = codec.flat(tensors)
        positions, _ = self._chosen(numbers.shape[0], seed)
        return self.floats.encode([tf.gather(numbers, positions)], seed), seed

    def decode(self, sent: Any, shapes: Sequence[tf.TensorShape]) -> list[tf.Tensor]:
        """See `codec.Codec`. Each number is multiplied by the size of its part."""
        floats, seed = sent
        size = codec.count(shapes)
        positions, sizes = self._chosen(size, seed)
        (values,) = self.floats.decode(floats, [positions.shape])
        whole = tf.scatter_nd(positions[:, tf.newaxis], values * sizes, [size])
        return codec.unflat(whole, shapes)

    def _chosen(self, size: int, seed: tf.Tensor) -> tuple[tf.Tensor, np.ndarray]:
        """Returns the positions that are sent, and the sizes of their parts as float32."""
        kept = top_k.kept_of(self.fraction, size)
        bounds = np.arange(kept + 1, dtype=np.int64) * size // max(kept, 1)
        sizes = np.diff(bounds).astype(np.float32)
        within = tf.floor(tf.random.stateless_uniform([kept], seed) * sizes)
        # The float product may round up to the size itself.
        within = tf.cast(tf.minimum(within, sizes - 1), tf.int32)
        return within + bounds[:-1].astype(np.int32), sizes
