"""What an aggregator releases in each round, handed to an audit.

The server optimizer hides a round's release: momentum and adaptive steps mix it with earlier ones.
An audit of the rounds needs the aggregator's own result.
"""

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.privacy import properties

_MEASURED, _RELEASE = "measured", "release"


class ReleasingFactory(tff.aggregators.UnweightedAggregationFactory):
    """The same aggregator, whose measurements hold its result, too.

    The result takes the memory of one more update. `detach` takes it off the measurements.
    """

    def __init__(self, aggregator: tff.aggregators.UnweightedAggregationFactory) -> None:
        """Initializes the factory.

        Args:
          aggregator: The aggregator.
        """
        self._aggregator = aggregator
        self.properties = properties.of(aggregator)

    def create(self, value_type: tff.Type) -> tff.templates.AggregationProcess:
        """Returns the aggregation process for updates of this type."""
        process = self._aggregator.create(value_type)

        @tff.federated_computation(
            process.initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS)
        )
        def next_fn(state: Any, value: Any) -> Any:
            output = process.next(state, value)
            measured = collections.OrderedDict(
                [(_MEASURED, output.measurements), (_RELEASE, output.result)]
            )
            return tff.templates.MeasuredProcessOutput(
                output.state, output.result, tff.federated_zip(measured)
            )

        return tff.templates.AggregationProcess(process.initialize, next_fn)


def detach(measurements: Any) -> tuple[Any, list[np.ndarray] | None]:
    """Returns an aggregator's own measurements, and its result.

    Args:
      measurements: As the process returns them.

    Returns:
      The measurements, and the result's arrays in their order; None if the aggregator is not
      wrapped.
    """
    if not isinstance(measurements, Mapping) or _RELEASE not in measurements:
        return measurements, None
    arrays = [np.asarray(part) for part in tf.nest.flatten(measurements[_RELEASE])]
    return measurements[_MEASURED], arrays
