"""Makes the release of each round available to an audit.

The model does not show the release of a single round, because the momentum and the adaptive steps
of the server optimizer mix it with earlier releases. So an audit of rounds needs the aggregator's
own result.
"""

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.privacy import aggregator_properties

_MEASURED, _RELEASE = "measured", "release"


class ReleasingFactory(tff.aggregators.UnweightedAggregationFactory):
    """Wraps an aggregator and adds its result to its measurements.

    This takes the memory of one more update. `detach` separates the result from the measurements.
    """

    def __init__(self, aggregator: tff.aggregators.UnweightedAggregationFactory) -> None:
        """Initializes the factory.

        Args:
          aggregator: The aggregator to wrap.
        """
        self._aggregator = aggregator
        self.properties = aggregator_properties.of(aggregator)

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
    """Separates an aggregator's own measurements from its result.

    Args:
      measurements: Measurements as the process returns them.

    Returns:
      The aggregator's own measurements, and the arrays of its result. The latter is None if the
      aggregator is not wrapped.
    """
    if not isinstance(measurements, Mapping) or _RELEASE not in measurements:
        return measurements, None
    arrays = [np.asarray(part) for part in tf.nest.flatten(measurements[_RELEASE])]
    return measurements[_MEASURED], arrays
