"""The mean of updates that clients send with 8 or 4 bits per number instead of 32.

Each tensor of an update is scaled by its largest magnitude and rounded to the levels of a signed
integer. It is rounded up or down at random, so that the expected value is unchanged: QSGD (Alistarh
et al. 2017, section 3.1, with 2^(bits-1) - 1 levels and the maximum norm). Zeros stay zeros. The
random numbers derive from the run's seed, the round and the update itself, so that a run can be
repeated. TFF's own `compression_aggregator` draws from TensorFlow's global generator instead.
"""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors, seeds
from tff_nlp.privacy import properties

BITS = (8, 4)


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


class QuantizedMeanFactory(tff.aggregators.WeightedAggregationFactory):
    """A TFF aggregator for the weighted mean of quantized updates.

    Its state is the round number. It has no measurements.
    """

    def __init__(self, bits: int, seed: int) -> None:
        """Initializes the factory.

        Args:
          bits: Bits of each number that a client sends, 8 or 4.
          seed: Seed of the run.

        Raises:
          UserError: If `bits` is neither 8 nor 4.
        """
        if bits not in BITS:
            raise errors.UserError(f"`upload_bits`={bits}: must be 32, 8 or 4")
        self.properties = properties.configured(upload_bits=bits)
        self._bits = bits
        self._seed = seeds.pair(seed, "quantization")

    def create(
        self, value_type: tff.Type, weight_type: tff.Type
    ) -> tff.templates.AggregationProcess:
        """Returns the aggregation process for updates of float32 tensors.

        Args:
          value_type: Type of the updates.
          weight_type: Type of the clients' weights, a scalar number.

        Raises:
          TypeError: If a tensor of the updates is not float32.
        """
        specs = tff.types.type_to_tf_tensor_specs(value_type)
        flat_specs = tf.nest.flatten(specs)
        if any(spec.dtype != tf.float32 for spec in flat_specs):
            raise TypeError(f"only float32 can be quantized, not {value_type}")
        bits = self._bits

        @tff.tensorflow.computation(np.int32, value_type, weight_type)
        def encode(index: Any, value: Any, weight: Any) -> Any:
            flat = tf.nest.flatten(value)
            seed = tf.random.experimental.stateless_fold_in(
                tf.constant(self._seed, tf.int32), index
            )
            # The fingerprint gives different clients different random numbers.
            seed = tf.random.experimental.stateless_fold_in(seed, _fingerprint(flat))
            parts = [
                quantize(part, bits, tf.random.experimental.stateless_fold_in(seed, number))
                for number, part in enumerate(flat)
            ]
            packed, steps = zip(*parts, strict=True)
            return packed, tf.stack(steps), tf.cast(weight, tf.float32)

        @tff.tensorflow.computation
        def zero() -> Any:
            return tuple(tf.zeros(s.shape) for s in flat_specs), tf.zeros([])

        encoded_type, zero_type = encode.type_signature.result, zero.type_signature.result

        @tff.tensorflow.computation(zero_type, encoded_type)
        def accumulate(total: Any, encoded: Any) -> Any:
            packed, steps, weight = encoded
            parts = (
                weight * dequantize(p, steps[number], bits, spec.shape)
                for number, (p, spec) in enumerate(zip(packed, flat_specs, strict=True))
            )
            sums = tuple(t + part for t, part in zip(total[0], parts, strict=True))
            return sums, total[1] + weight

        @tff.tensorflow.computation(zero_type, zero_type)
        def merge(one: Any, other: Any) -> Any:
            return tf.nest.map_structure(tf.add, one, other)

        @tff.tensorflow.computation(zero_type)
        def report(total: Any) -> Any:
            mean = [tf.math.divide_no_nan(part, total[1]) for part in total[0]]
            return tf.nest.pack_sequence_as(specs, mean)

        @tff.tensorflow.computation(np.int32)
        def advance(index: Any) -> Any:
            return index + 1

        @tff.federated_computation
        def initialize() -> Any:
            return tff.federated_eval(
                tff.tensorflow.computation(lambda: tf.zeros([], tf.int32)), tff.SERVER
            )

        @tff.federated_computation(
            initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
            tff.FederatedType(weight_type, tff.CLIENTS),
        )
        def next_fn(state: Any, value: Any, weight: Any) -> Any:
            encoded = tff.federated_map(encode, (tff.federated_broadcast(state), value, weight))
            mean = tff.federated_aggregate(encoded, zero(), accumulate, merge, report)
            return tff.templates.MeasuredProcessOutput(
                tff.federated_map(advance, state), mean, tff.federated_value((), tff.SERVER)
            )

        return tff.templates.AggregationProcess(initialize, next_fn)


def _fingerprint(tensors: list[tf.Tensor]) -> tf.Tensor:
    """Returns an int32 hash of the bits of float32 tensors."""
    total = tf.zeros([], tf.int32)
    for part in tensors:
        # int32 arithmetic wraps around.
        total = total * 31 + tf.reduce_sum(tf.bitcast(part, tf.int32))
    return total
