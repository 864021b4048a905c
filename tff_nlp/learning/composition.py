"""How client work, aggregator and server update become a process, and what does not go together."""

from typing import Any, TypeAlias, Union

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.learning import client_work, optimizers, server_update
from tff_nlp.privacy import distributed_mean, properties
from tff_nlp.tasks import task as tasks

Aggregator: TypeAlias = Union[  # noqa: UP007 - the types are unknown to the checker.
    "tff.aggregators.WeightedAggregationFactory", "tff.aggregators.UnweightedAggregationFactory"
]


def compose(
    task: tasks.Task,
    work: tff.learning.templates.ClientWorkProcess,
    aggregator: Aggregator | None,
    server_optimizer: optimizers.ServerOptimizer,
) -> tff.learning.templates.LearningProcess:
    """Returns the process of client work, aggregator and server optimizer.

    `process.initialize()` alone fills the weights with NaN, so that nobody trains from anything
    else by mistake: they are too large to be constants of a computation. `initial_state` puts the
    task's in.

    Args:
      task: What is trained for.
      work: What clients do.
      aggregator: Combines what they send; None for the weighted mean.
      server_optimizer: The server's optimizer.
    """
    model_type = task.weights_type()
    result_type = work.next.type_signature.result.result.member
    return tff.learning.templates.compose_learning_process(
        no_weights(model_type),
        tff.learning.templates.build_broadcast_process(model_type),
        work,
        weighted(aggregator).create(result_type.update, result_type.update_weight),
        server_update.build_server_update(model_type, server_optimizer),
    )


def weighted(aggregator: Aggregator | None) -> tff.aggregators.WeightedAggregationFactory:
    """Returns the aggregator as one that takes weights, if only to leave them aside.

    Args:
      aggregator: The aggregator; None for the weighted mean.
    """
    if aggregator is None:
        return tff.aggregators.MeanFactory()
    if isinstance(aggregator, tff.aggregators.UnweightedAggregationFactory):
        return tff.aggregators.as_weighted_aggregator(aggregator)
    return aggregator


def no_weights(model_type: tff.StructWithPythonType) -> tff.Computation:
    """Returns the computation of weights that are NaN: nobody trains from them by mistake."""

    @tff.tensorflow.computation
    def nan() -> Any:
        specs = tff.types.type_to_tf_tensor_specs(model_type)
        return tf.nest.map_structure(
            lambda s: tf.fill(s.shape, tf.cast(float("nan"), s.dtype)), specs
        )

    return nan


def weight_accessors(state_type: Any) -> tuple[tff.Computation, tff.Computation]:
    """Returns the computations that read and write the weights of a state.

    Args:
      state_type: Type of a `tff.learning.templates.LearningAlgorithmState`.
    """

    @tff.tensorflow.computation(state_type)
    def get_model_weights(state: Any) -> Any:
        return state.global_model_weights

    @tff.tensorflow.computation(state_type, state_type.global_model_weights)
    def set_model_weights(state: Any, weights: Any) -> Any:
        rest = (state.distributor, state.client_work, state.aggregator, state.finalizer)
        return tff.learning.templates.LearningAlgorithmState(weights, *rest)

    return get_model_weights, set_model_weights


def initial_state(
    process: tff.learning.templates.LearningProcess, task: tasks.Task
) -> tff.learning.templates.LearningAlgorithmState:
    """Returns the state of the first round, with the task's weights."""
    trainable, frozen = task.initial_weights()
    return process.set_model_weights(
        process.initialize(),
        tff.learning.models.ModelWeights(tuple(trainable), tuple(frozen)),
    )


def keyed(aggregator: Aggregator | None) -> bool:
    """Returns whether an aggregator lets clients add noise, and so takes `KeyedUpdate`s."""
    return isinstance(aggregator, distributed_mean.DistributedMeanFactory)


def check(
    task: tasks.Task,
    local: client_work.LocalWork,
    aggregator: Aggregator | None,
    *,
    allow_dp_mismatch: bool = False,
) -> None:
    """Refuses what would make a printed epsilon untrue.

    Args:
      task: What is trained for.
      local: How clients train.
      aggregator: Combines what they send.
      allow_dp_mismatch: Whether to let it pass, for a run that claims nothing.

    Raises:
      UserError: With the first sentence of `privacy.properties.violations`.
    """
    found = properties.violations(
        aggregator=properties.of(aggregator),
        by_example=local.example_privacy is not None,
        weighting=local.weighting,
        dependence="" if task.examples_independent else task.dependence,
    )
    if found and not allow_dp_mismatch:
        raise errors.UserError(found[0])
