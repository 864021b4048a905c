"""Updates as clients send them with a codec, and what a client keeps of the difference."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import seeds
from tff_nlp.aggregation.compression import codec as codecs

Update = tuple[tf.Tensor, ...]


class Encoded(NamedTuple):
    """What a client sends.

    Attributes:
      sent: Result of `Codec.encode`.
      like: float32[0, *shape] for each tensor of the update. They say the shapes to the aggregator,
        and have no bytes.
    """

    sent: Any
    like: Any


@dataclasses.dataclass(frozen=True)
class Coding:
    """A codec with its random numbers.

    The random numbers derive from the run's seed and the update itself, so that a run can be
    repeated. TFF's own `compression_aggregator` draws from TensorFlow's global generator instead.

    Attributes:
      codec: The codec.
      seed: Seed of the run.
      error_feedback: Whether clients add what a biased codec lost to their next update.
    """

    codec: codecs.Codec
    seed: int
    error_feedback: bool = True

    @property
    def properties(self) -> dict[str, Any]:
        """What `privacy.properties.configured` must know of it."""
        return {"coded_by": self.codec.setting, "keeps_error": self.keeps_error}

    @property
    def keeps_error(self) -> bool:
        """Whether clients keep what the codec lost."""
        return self.error_feedback and self.codec.is_biased

    def encode(self, update: Any) -> Encoded:
        """Returns what a client sends instead of an update.

        Args:
          update: A structure of float32 tensors of static shapes.
        """
        parts = [tf.convert_to_tensor(part) for part in tf.nest.flatten(update)]
        # The fingerprint gives different clients, and different rounds, different random numbers.
        seed = tf.random.experimental.stateless_fold_in(
            tf.constant(seeds.pair(self.seed, "compression"), tf.int32), _fingerprint(parts)
        )
        like = tuple(tf.zeros([0, *part.shape]) for part in parts)
        return Encoded(self.codec.encode(parts, seed), like)

    def decode(self, encoded: Encoded) -> Update:
        """Returns the tensors of an update from what a client sent."""
        shapes = [part.shape[1:] for part in encoded.like]
        return tuple(self.codec.decode(encoded.sent, shapes))

    def send(self, update: Update, weight: tf.Tensor, lost: Update) -> tuple[Encoded, Update]:
        """Returns what a client sends if it keeps what the codec lost, and what it keeps then.

        Args:
          update: The client's update.
          weight: Its weight. A client with weight 0 sends zeros and keeps what it had.
          lost: What the codec lost before, with the shapes of the update.
        """
        counts = weight > 0
        total = tuple(tf.where(counts, u + e, 0.0) for u, e in zip(update, lost, strict=True))
        encoded = self.encode(total)
        kept = zip(total, self.decode(encoded), lost, strict=True)
        return encoded, tuple(tf.where(counts, t - sent, e) for t, sent, e in kept)


def specs_of(value_type: tff.Type) -> Any:
    """Returns the specs of updates, of the type that an aggregator gets.

    Args:
      value_type: Type of the updates, or of `Encoded` updates.

    Raises:
      TypeError: If a tensor is not float32.
    """
    specs = tff.types.type_to_tf_tensor_specs(value_type)
    if is_encoded(value_type):
        return tuple(tf.TensorSpec(spec.shape[1:], spec.dtype) for spec in specs.like)
    if any(spec.dtype != tf.float32 for spec in tf.nest.flatten(specs)):
        raise TypeError(f"only float32 can be compressed, not {value_type}")
    return specs


def is_encoded(value_type: tff.Type) -> bool:
    """Returns whether the updates of this type are `Encoded` already."""
    return getattr(value_type, "python_container", None) is Encoded


def encoder(coding: Coding | None, value_type: tff.Type) -> Callable[[Any], Any]:
    """Returns the function by which a client encodes its update, unless it is encoded already.

    Args:
      coding: The coding; None to send updates as they are.
      value_type: Type of the updates, or of `Encoded` updates.
    """
    if coding is None or is_encoded(value_type):
        return lambda value: value
    return coding.encode


def _fingerprint(tensors: list[tf.Tensor]) -> tf.Tensor:
    """Returns an int32 hash of the bits of float32 tensors."""
    total = tf.zeros([], tf.int32)
    for part in tensors:
        # int32 arithmetic wraps around.
        total = total * 31 + tf.reduce_sum(tf.bitcast(part, tf.int32))
    return total
