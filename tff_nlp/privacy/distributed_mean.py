"""The mean of clipped updates with noise from the clients, as a TFF aggregator.

Each client clips its update, applies a random rotation that all clients share (so that no
coordinate is much larger than the others), rounds the result to integers, adds its share of
discrete Gaussian noise, and sends the result modulo 2^bits to a secure sum (Kairouz et al. 2021,
algorithms 1 and 2; `discrete_gaussian`). Clients send nothing else. A count of clipped clients, for
example, would have no noise.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.privacy import (
    clipped_mean,
    discrete_gaussian,
    keystream,
    mechanism_checks,
    names,
    noise,
    properties,
)

# Makes the seeds of the rotation different from other seeds. The rotation is public.
_ROTATION = 0x726F74


class KeyedUpdate(NamedTuple):
    """The input of the aggregation at a client. The key stays on the client.

    Attributes:
      noise_key: Key of the client's noise in this round, uint32[8].
      update: The update.
    """

    noise_key: Any
    update: Any


def hadamard(values: tf.Tensor) -> tf.Tensor:
    """Returns the orthonormal Walsh-Hadamard transform, which is its own inverse.

    Args:
      values: float32[d], where d is a power of two.
    """
    size = values.shape.num_elements()
    width = 1
    while width < size:
        left, right = tf.unstack(tf.reshape(values, [-1, 2, width]), axis=1)
        values = tf.reshape(tf.stack([left + right, left - right], axis=1), [size])
        width *= 2
    return values / math.sqrt(size)


def _signs(index: tf.Tensor, size: int) -> tf.Tensor:
    seed = tf.stack([index, tf.constant(_ROTATION)])
    bits = tf.random.stateless_uniform([size], seed, 0, 2, tf.int32)
    return tf.cast(1 - 2 * bits, tf.float32)


class DistributedMean:
    """The client's part and the server's part of a round, as functions of tensors."""

    def __init__(
        self, *, noise_multiplier: float, clipping_norm: float, clients: int, bits: int, specs: Any
    ) -> None:
        """Initializes the mean.

        Args:
          noise_multiplier: Standard deviation of the noise on the sum over all clients, divided by
            the norm of the longest vector that one client can send.
          clipping_norm: L2 norm to which updates are clipped.
          clients: Number of clients. All of them must send.
          bits: Width of the integers that are sent.
          specs: `tf.TensorSpec`s of an update.

        Raises:
          UserError: If there are too few bits.
        """
        self._specs = specs
        self._sizes = [spec.shape.num_elements() for spec in tf.nest.flatten(specs)]
        self._padded = 2 ** math.ceil(math.log2(max(sum(self._sizes), 2)))
        self._clipping_norm = clipping_norm
        self._clients = clients
        self.grid = discrete_gaussian.plan(
            noise_multiplier, clipping_norm, clients, self._padded, bits
        )

    @property
    def modulus(self) -> int:
        """The modulus of the sums."""
        return 2**self.grid.bits

    def prepare(self, index: tf.Tensor, key: tf.Tensor, update: Any) -> tf.Tensor:
        """Returns what a client sends, int32[d], from 0 to modulus - 1.

        Args:
          index: Round number, int32. It determines the rotation.
          key: Key of the client's noise, uint32[8]. A key of zeros means that there is no key, and
            fails.
          update: The client's update. If it is not finite, zeros are sent in its place.
        """
        with tf.control_dependencies(
            [tf.debugging.Assert(keystream.is_given(key), ["a client has no key for its noise"])]
        ):
            exact = self._round(index, key, update)
        shared = exact + self._noise(key)
        return tf.math.floormod(shared, self.modulus)

    def _round(self, index: tf.Tensor, key: tf.Tensor, update: Any) -> tf.Tensor:
        """Returns a clipped and rounded update, int32[d]. Its norm is at most `grid.longest`."""
        norm = tf.constant(self._clipping_norm, tf.float32)
        clipped, _ = clipped_mean.clip(update, norm, noise.power_of_two(norm) * 2.0**-40)
        flat = tf.concat([tf.reshape(part, [-1]) for part in tf.nest.flatten(clipped)], axis=0)
        flat = tf.pad(flat, [[0, self._padded - sum(self._sizes)]])
        scaled = hadamard(flat * _signs(index, self._padded)) * self.grid.scale
        below = tf.floor(scaled)
        uniform = keystream.expand(
            key, (0, 0, noise.ROUNDING), self._padded, keystream.WORDS, _fractions_of, tf.float32
        )
        at_random = tf.cast(below + tf.cast(uniform < scaled - below, tf.float32), tf.int32)
        towards_zero = tf.cast(tf.sign(scaled) * tf.floor(tf.abs(scaled)), tf.int32)
        # This check makes the bound hold for every rounding error of float32.
        return tf.case(
            [
                (self._is_short(at_random), lambda: at_random),
                (self._is_short(towards_zero), lambda: towards_zero),
            ],
            default=lambda: tf.zeros_like(at_random),
        )

    def _is_short(self, integers: tf.Tensor) -> tf.Tensor:
        squared = tf.reduce_sum(tf.square(tf.cast(integers, tf.float64)))
        return squared <= self.grid.longest**2

    def _noise(self, key: tf.Tensor) -> tf.Tensor:
        if not self.grid.stddev:
            return tf.zeros([self._padded], tf.int32)
        law = tf.constant(discrete_gaussian.thresholds(self.grid.stddev))
        most = law.shape.num_elements() // 2

        def drawn(words: tf.Tensor) -> tf.Tensor:
            return tf.searchsorted(law, keystream.integers_of(words), side="right") - most

        return keystream.expand(key, (0, 0, noise.SHARE), self._padded, 8, drawn, tf.int32)

    def release(self, total: tf.Tensor, index: tf.Tensor) -> Any:
        """Returns the mean update.

        Args:
          total: The sum modulo the modulus, int32[d].
          index: Round number, int32.
        """
        half = self.modulus // 2
        centred = tf.math.floormod(total + half, self.modulus) - half
        turned = tf.cast(centred, tf.float32) / self.grid.scale
        flat = hadamard(turned) * _signs(index, self._padded) / self._clients
        parts = tf.split(flat[: sum(self._sizes)], self._sizes)
        shaped = [
            tf.reshape(part, spec.shape)
            for part, spec in zip(parts, tf.nest.flatten(self._specs), strict=True)
        ]
        return tf.nest.pack_sequence_as(self._specs, shaped)


def _fractions_of(words: tf.Tensor) -> tf.Tensor:
    """Returns float32 numbers from 0 to below 1, multiples of 2^-24."""
    high = tf.bitwise.right_shift(tf.reshape(words, [-1]), tf.constant(8, tf.uint32))
    return tf.cast(high, tf.float32) * 2.0**-24


class DistributedMeanFactory(tff.aggregators.UnweightedAggregationFactory):
    """A TFF aggregator with a `DistributedMean`.

    It aggregates `KeyedUpdate`s, and its result is an update. Its state is the round number. It has
    no measurements.
    """

    properties = properties.configured(names.DISTRIBUTED)

    def __init__(
        self, *, noise_multiplier: float, clipping_norm: float, clients: int, bits: int
    ) -> None:
        """Initializes the factory. The arguments are those of `DistributedMean`.

        Raises:
          UserError: If a number is out of range.
        """
        mechanism_checks.check_noise_multiplier(noise_multiplier)
        mechanism_checks.check_clipping_norm(clipping_norm)
        mechanism_checks.check_cohort(clients)
        if not 1 <= bits <= discrete_gaussian.MOST_BITS:
            raise errors.UserError(
                f"`distributed_bits`={bits}: must be from 1 to {discrete_gaussian.MOST_BITS}"
            )
        self._numbers: dict[str, Any] = {
            "noise_multiplier": noise_multiplier,
            "clipping_norm": clipping_norm,
            "clients": clients,
            "bits": bits,
        }

    def create(self, value_type: tff.Type) -> tff.templates.AggregationProcess:
        """Returns the aggregation process for `KeyedUpdate`s of float32 tensors.

        Raises:
          UserError: If there are too few bits for the size of the updates.
        """
        specs = tff.types.type_to_tf_tensor_specs(value_type.update)
        mean = DistributedMean(specs=specs, **self._numbers)

        @tff.tensorflow.computation(np.int32, value_type)
        def prepare(index: Any, value: Any) -> Any:
            return mean.prepare(index, value.noise_key, value.update)

        @tff.tensorflow.computation(prepare.type_signature.result, np.int32)
        def release(total: Any, index: Any) -> Any:
            return mean.release(total, index)

        @tff.tensorflow.computation(np.int32)
        def advance(index: Any) -> Any:
            return index + 1

        @tff.federated_computation
        def initialize() -> Any:
            zero = tff.tensorflow.computation(lambda: tf.zeros([], tf.int32))
            return tff.federated_eval(zero, tff.SERVER)

        @tff.federated_computation(
            initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS)
        )
        def next_fn(state: Any, value: Any) -> Any:
            sent = tff.federated_map(prepare, (tff.federated_broadcast(state), value))
            total = tff.backends.mapreduce.federated_secure_modular_sum(sent, mean.modulus)
            return tff.templates.MeasuredProcessOutput(
                tff.federated_map(advance, state),
                tff.federated_map(release, (total, state)),
                tff.federated_value((), tff.SERVER),
            )

        return tff.templates.AggregationProcess(initialize, next_fn)
