"""Matrices of low rank instead of an update.

Vogels et al. 2019, "PowerSGD: Practical Low-Rank Gradient Compression for Distributed
Optimization", algorithm 1. There, workers share one factor, and so one power step is a round of
messages. Here each client compresses its own update. So it takes three steps from random values,
and sends both factors.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tff_nlp import errors
from tff_nlp.aggregation.compression import codec, names

_STEPS = 3


@dataclasses.dataclass(frozen=True)
class PowerSgd:
    """The codec. Tensors that would not become smaller are sent whole.

    Attributes:
      rank: Rank of the matrices.
      floats: How the numbers are sent.
      setting: See `codec.Codec`.
      is_biased: See `codec.Codec`.
    """

    rank: int = 4
    floats: codec.Codec = codec.Floats()
    setting: str = dataclasses.field(default=f"`compression`={names.POWER_SGD}", init=False)
    is_biased: bool = dataclasses.field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise errors.UserError(f"`compression_rank`={self.rank}: must be at least 1")

    def encode(self, tensors: codec.Tensors, seed: tf.Tensor) -> Any:
        """Returns the tensors, with two factors in place of each large matrix."""
        sent: list[tf.Tensor] = []
        for number, part in enumerate(tensors):
            split = self._split(part.shape)
            if split is None:
                sent.append(part)
            else:
                own = tf.random.experimental.stateless_fold_in(seed, number)
                sent += _factors(tf.reshape(part, split), self.rank, own)
        return self.floats.encode(
            sent, tf.random.experimental.stateless_fold_in(seed, len(tensors))
        )

    def decode(self, sent: Any, shapes: Sequence[tf.TensorShape]) -> list[tf.Tensor]:
        """See `codec.Codec`."""
        splits = [self._split(shape) for shape in shapes]
        inner: list[tf.TensorShape] = []
        for shape, split in zip(shapes, splits, strict=True):
            if split is None:
                inner.append(shape)
            else:
                inner += [tf.TensorShape([side, self.rank]) for side in split]
        parts = iter(self.floats.decode(sent, inner))
        return [
            next(parts)
            if split is None
            else tf.reshape(tf.matmul(next(parts), next(parts), transpose_b=True), shape)
            for shape, split in zip(shapes, splits, strict=True)
        ]

    def _split(self, shape: tf.TensorShape) -> tuple[int, int] | None:
        """Returns the sides of a tensor as a matrix; None if it is sent whole.

        A tensor with more than two axes becomes the matrix that needs the fewest numbers.
        """
        sizes = shape.as_list()
        matrices = [
            (math.prod(sizes[:axis]), math.prod(sizes[axis:])) for axis in range(1, len(sizes))
        ]
        best = min(matrices, key=sum, default=(0, 0))
        return best if self.rank * sum(best) < math.prod(best) else None


def _factors(matrix: tf.Tensor, rank: int, seed: tf.Tensor) -> list[tf.Tensor]:
    """Returns P, with orthonormal columns, and Q such that P Q^T is near the matrix."""
    other = tf.random.stateless_normal([matrix.shape[1], rank], seed)
    for step in range(_STEPS):
        # Only the space of the columns counts, and powers of a matrix may overflow.
        start = other if step == 0 else tf.linalg.qr(other).q
        basis = tf.linalg.qr(tf.matmul(matrix, start)).q
        other = tf.matmul(matrix, basis, transpose_a=True)
    return [basis, other]
