"""The weighted mean of updates as a secure sum of integers of a fixed step, for encryption.

A client weighs its update before the sum, because the server cannot multiply what it cannot read.
The step and the range are the same in all rounds, so no client has to agree with others on them.
"""

from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.aggregation import stateless
from tff_nlp.aggregation.encryption import ckks
from tff_nlp.privacy import properties

# The distance between two numbers: a weighted number is off by 3e-8 at most.
STEP = ckks.STEP
# The absolute values of sums of integers are below it, and those of numbers below 8 million.
MODULUS = ckks.LARGEST_SUM


class FixedPointMeanFactory(tff.aggregators.WeightedAggregationFactory):
    """A TFF aggregator for the weighted mean as a modular secure sum. It has no state.

    Attributes:
      largest: Largest weight of a client, and largest weighted number of an update. A larger weight
        counts as this one, for the update, too.
    """

    def __init__(self, clients: int = 256) -> None:
        """Initializes the factory.

        Args:
          clients: Most clients of a round. The sum of so many of the largest numbers does not wrap
            around.
        """
        self.largest = (MODULUS - 1) * STEP / clients
        self.properties = properties.configured(secure_sum=True, encrypted=True)

    def create(
        self, value_type: tff.Type, weight_type: tff.Type
    ) -> tff.templates.AggregationProcess:
        """Returns the aggregation process for updates of float32 tensors of static shapes.

        Args:
          value_type: Type of the updates.
          weight_type: Type of the clients' weights, a scalar number.
        """
        specs = tff.types.type_to_tf_tensor_specs(value_type)
        secure_sum = tff.aggregators.SecureModularSumFactory(MODULUS, symmetric_range=True)

        @tff.tensorflow.computation(value_type, weight_type)
        def weigh(value: Any, weight: Any) -> Any:
            factor = tf.minimum(tf.cast(weight, tf.float64), self.largest)
            parts = [factor * tf.cast(part, tf.float64) for part in tf.nest.flatten(value)]
            return tuple(map(self._to_integers, parts)), self._to_integers(factor)

        sums = secure_sum.create(weigh.type_signature.result)

        @tff.tensorflow.computation(weigh.type_signature.result)
        def mean_of(total: Any) -> Any:
            parts, weight = (tf.nest.map_structure(_to_numbers, part) for part in total)
            mean = [tf.cast(tf.math.divide_no_nan(p, weight), tf.float32) for p in parts]
            return tf.nest.pack_sequence_as(specs, mean)

        def aggregate(value: Any, weight: Any) -> Any:
            weighted = tff.federated_map(weigh, (value, weight))
            # The modular sum has no state.
            return tff.federated_map(mean_of, sums.next(sums.initialize(), weighted).result)

        return stateless.process(value_type, weight_type, aggregate)

    def _to_integers(self, numbers: tf.Tensor) -> tf.Tensor:
        """Returns float64 numbers in steps, int64. Numbers beyond the largest one are cut."""
        most = int(self.largest / STEP)
        steps = tf.cast(tf.round(numbers / STEP), tf.int64)
        return tf.clip_by_value(steps, -most, most)


def _to_numbers(integers: tf.Tensor) -> tf.Tensor:
    """Returns the numbers of a sum, float64."""
    return tf.cast(integers, tf.float64) * STEP
