"""What a client sends instead of the tensors of its update."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import tensorflow as tf

Tensors = Sequence[tf.Tensor]


class Codec(Protocol):
    """A way to send tensors in other tensors, which need fewer bytes.

    The sizes of what is sent depend on the shapes only, so that the bytes are known beforehand.
    """

    @property
    def setting(self) -> str:
        """The argument that chooses it, as marked text (`errors`)."""

    @property
    def is_biased(self) -> bool:
        """Whether the expected result differs from what was sent.

        Then a client should keep the difference and add it to its next update.
        """

    def encode(self, tensors: Tensors, seed: tf.Tensor) -> Any:
        """Returns what is sent, a structure of tensors.

        Args:
          tensors: float32 tensors of static shapes, without numbers that are not finite.
          seed: Seed of the random choices, int32[2].
        """

    def decode(self, sent: Any, shapes: Sequence[tf.TensorShape]) -> list[tf.Tensor]:
        """Returns float32 tensors from what was sent.

        Args:
          sent: Result of `encode`.
          shapes: The shapes of the tensors.
        """


@dataclasses.dataclass(frozen=True)
class Floats:
    """The tensors themselves."""

    setting: str = ""
    is_biased: bool = False

    def encode(self, tensors: Tensors, seed: tf.Tensor) -> Any:
        """See `Codec`."""
        del seed
        return tuple(tensors)

    def decode(self, sent: Any, shapes: Sequence[tf.TensorShape]) -> list[tf.Tensor]:
        """See `Codec`."""
        return [tf.ensure_shape(part, shape) for part, shape in zip(sent, shapes, strict=True)]


def flat(tensors: Tensors) -> tf.Tensor:
    """Returns the numbers of all tensors in one row."""
    return tf.concat([tf.reshape(part, [-1]) for part in tensors], 0)


def unflat(numbers: tf.Tensor, shapes: Sequence[tf.TensorShape]) -> list[tf.Tensor]:
    """Returns the tensors of these shapes from the result of `flat`."""
    parts = tf.split(numbers, [shape.num_elements() for shape in shapes])
    return [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]


def count(shapes: Sequence[tf.TensorShape]) -> int:
    """Returns the number of numbers in tensors of these shapes."""
    return sum(shape.num_elements() for shape in shapes)
