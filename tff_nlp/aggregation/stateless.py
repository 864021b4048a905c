"""TFF aggregation processes without a state and without measurements."""

from collections.abc import Callable
from typing import Any

import tensorflow_federated as tff


def process(
    value_type: tff.Type, weight_type: tff.Type, aggregate: Callable[[Any, Any], Any]
) -> tff.templates.AggregationProcess:
    """Returns the process of a weighted aggregator that only aggregates.

    Args:
      value_type: Type of a client's value.
      weight_type: Type of its weight.
      aggregate: Function (values, weights) -> result at the server, of federated values.
    """

    @tff.federated_computation
    def initialize() -> Any:
        return tff.federated_value((), tff.SERVER)

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(value_type, tff.CLIENTS),
        tff.FederatedType(weight_type, tff.CLIENTS),
    )
    def next_fn(state: Any, value: Any, weight: Any) -> Any:
        return tff.templates.MeasuredProcessOutput(
            state, aggregate(value, weight), tff.federated_value((), tff.SERVER)
        )

    return tff.templates.AggregationProcess(initialize, next_fn)
