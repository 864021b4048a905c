"""The server update as a TFF finalizer."""

import collections
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.learning import optimizers


def build_server_update(
    model_type: tff.StructWithPythonType, optimizer: optimizers.ServerOptimizer
) -> tff.learning.templates.FinalizerProcess:
    """Builds the step that applies the aggregated update to the global weights.

    An aggregate that is not finite is ignored: weights and optimizer do not change.

    Args:
      model_type: Type of the weights, see `Task.weights_type`.
      optimizer: The server optimizer.

    Returns:
      The process. Its measurements are "update_norm", the L2 norm of the aggregate, and
      "update_non_finite" (int32), 1 if the aggregate was ignored.
    """
    server_optimizer = optimizer.build()
    trainable_type = model_type.trainable

    @tff.tensorflow.computation
    def initialize_optimizer() -> Any:
        return server_optimizer.initialize(tff.types.type_to_tf_tensor_specs(trainable_type))

    @tff.tensorflow.computation(
        initialize_optimizer.type_signature.result, trainable_type, trainable_type
    )
    @tf.function
    def apply(state: Any, weights: Any, update: Any) -> Any:
        norm = tf.linalg.global_norm(tf.nest.flatten(update))
        finite = tf.math.is_finite(norm)
        measurements = collections.OrderedDict(
            update_non_finite=tf.cast(tf.logical_not(finite), tf.int32),
            update_norm=tf.where(finite, norm, 0.0),
        )
        if finite:
            new_state, new_weights = server_optimizer.next(state, weights, update)
        else:
            new_state, new_weights = state, weights
        return new_state, new_weights, measurements

    @tff.federated_computation
    def initialize() -> Any:
        return tff.federated_eval(initialize_optimizer, tff.SERVER)

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(model_type, tff.SERVER),
        tff.FederatedType(trainable_type, tff.SERVER),
    )
    def next_fn(state: Any, weights: Any, update: Any) -> Any:
        new_state, trainable, measurements = tff.federated_map(
            apply, (state, weights.trainable, update)
        )
        new_weights = tff.federated_zip(
            tff.learning.models.ModelWeights(trainable, weights.non_trainable)
        )
        return tff.templates.MeasuredProcessOutput(new_state, new_weights, measurements)

    return tff.learning.templates.FinalizerProcess(initialize, next_fn)
