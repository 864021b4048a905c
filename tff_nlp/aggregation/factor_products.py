"""The mean of updates together with the mean of the products of their low-rank factors.

The mean of A and the mean of B do not give the mean of A B. This aggregator adds up the products of
the changes, so that the server can compute the exact mean: FedEx-LoRA (Singhal et al. 2024,
"FedEx-LoRA: Exact Aggregation for Federated and Efficient Fine-Tuning", section 4) and FLoRA (Wang
et al. 2024, "FLoRA: Federated Fine-Tuning Large Language Models with Heterogeneous Low-Rank
Adaptations", section 3). Clients send their factors only. The server multiplies them.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.aggregation import stateless
from tff_nlp.privacy import properties


class FactorMeanFactory(tff.aggregators.WeightedAggregationFactory):
    """A TFF aggregator for the weighted mean of updates and of products of their factors.

    The result is a tuple of two tuples: the mean update, and the mean product of each pair, with
    the shape of A without its last axis and of B without its first. There is no state.
    """

    def __init__(
        self, method: str, pairs: Sequence[tuple[int, int]], *, starts_anew: bool = False
    ) -> None:
        """Initializes the factory.

        Args:
          method: Name of the method, for messages.
          pairs: The index of A and the index of B in the update, for each pair of factors.
          starts_anew: Whether the server puts the whole product into the frozen matrix, and A and B
            start anew (FLoRA). Otherwise A and B become their means (FedEx-LoRA).
        """
        self.method = method
        self.pairs = tuple(pairs)
        self.starts_anew = starts_anew
        self.properties = properties.configured(products=method)

    def create(
        self, value_type: tff.Type, weight_type: tff.Type
    ) -> tff.templates.AggregationProcess:
        """Returns the aggregation process for updates that are tuples of float32 tensors."""
        specs = tuple(tff.types.type_to_tf_tensor_specs(value_type))
        shapes = [specs[a].shape[:-1].concatenate(specs[b].shape[1:]) for a, b in self.pairs]

        @tff.tensorflow.computation
        def zero() -> Any:
            sums = tuple(tf.zeros(spec.shape) for spec in specs)
            return sums, tuple(tf.zeros(shape) for shape in shapes), tf.zeros([])

        zero_type = zero.type_signature.result

        @tff.tensorflow.computation(zero_type, tff.StructType([value_type, weight_type]))
        def accumulate(total: Any, sent: Any) -> Any:
            sums, products, weights = total
            update, weight = tuple(sent[0]), tf.cast(sent[1], tf.float32)
            # Weight 0 marks an update that was not finite. It is zero then.
            new_sums = tuple(s + weight * u for s, u in zip(sums, update, strict=True))
            new_products = tuple(
                p + weight * tf.tensordot(update[a], update[b], 1)
                for p, (a, b) in zip(products, self.pairs, strict=True)
            )
            return new_sums, new_products, weights + weight

        @tff.tensorflow.computation(zero_type, zero_type)
        def merge(one: Any, other: Any) -> Any:
            return tf.nest.map_structure(tf.add, one, other)

        @tff.tensorflow.computation(zero_type)
        def report(total: Any) -> Any:
            sums, products, weights = total
            return (
                tuple(tf.math.divide_no_nan(part, weights) for part in sums),
                tuple(tf.math.divide_no_nan(part, weights) for part in products),
            )

        def aggregate(value: Any, weight: Any) -> Any:
            sent = tff.federated_zip((value, weight))
            return tff.federated_aggregate(sent, zero(), accumulate, merge, report)

        return stateless.process(value_type, weight_type, aggregate)
