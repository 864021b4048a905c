"""The mean of updates that clients send in fewer bytes, as a TFF aggregator."""

from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.aggregation import stateless
from tff_nlp.aggregation.compression import coding as codings
from tff_nlp.privacy import properties


class CodedMeanFactory(tff.aggregators.WeightedAggregationFactory):
    """A TFF aggregator for the weighted mean of updates that are encoded by a codec.

    Clients encode, and the server decodes each update and adds it up. Updates may be encoded
    already, by clients that keep what the codec lost. There is no state and no measurement.
    """

    def __init__(self, coding: codings.Coding) -> None:
        """Initializes the factory.

        Args:
          coding: How updates are encoded.
        """
        self.coding = coding
        self.properties = properties.configured(**coding.properties)

    def create(
        self, value_type: tff.Type, weight_type: tff.Type
    ) -> tff.templates.AggregationProcess:
        """Returns the aggregation process.

        Args:
          value_type: Type of the updates, float32 tensors of static shapes; or of
            `coding.Encoded` updates.
          weight_type: Type of the clients' weights, a scalar number.

        Raises:
          TypeError: If a tensor of the updates is not float32.
        """
        coding, specs = self.coding, codings.specs_of(value_type)
        encode_update = codings.encoder(coding, value_type)

        @tff.tensorflow.computation(value_type)
        def encode(value: Any) -> Any:
            return encode_update(value)

        @tff.tensorflow.computation
        def zero() -> Any:
            return tuple(tf.zeros(s.shape) for s in tf.nest.flatten(specs)), tf.zeros([])

        zero_type, encoded_type = zero.type_signature.result, encode.type_signature.result

        @tff.tensorflow.computation(zero_type, tff.StructType([encoded_type, weight_type]))
        def accumulate(total: Any, sent: Any) -> Any:
            weight = tf.cast(sent[1], tf.float32)
            parts = zip(total[0], coding.decode(sent[0]), strict=True)
            return tuple(t + weight * part for t, part in parts), total[1] + weight

        @tff.tensorflow.computation(zero_type, zero_type)
        def merge(one: Any, other: Any) -> Any:
            return tf.nest.map_structure(tf.add, one, other)

        @tff.tensorflow.computation(zero_type)
        def report(total: Any) -> Any:
            mean = [tf.math.divide_no_nan(part, total[1]) for part in total[0]]
            return tf.nest.pack_sequence_as(specs, mean)

        def aggregate(value: Any, weight: Any) -> Any:
            sent = tff.federated_zip((tff.federated_map(encode, value), weight))
            return tff.federated_aggregate(sent, zero(), accumulate, merge, report)

        return stateless.process(value_type, weight_type, aggregate)
