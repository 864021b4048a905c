"""Composes client work, aggregator and server update into a process, after a check."""

import collections
from collections.abc import Callable
from typing import Any, TypeAlias, Union

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.aggregation.compression import coding as codings
from tff_nlp.learning import client_work, mixed_ranks, optimizers, server_update
from tff_nlp.privacy import aggregator_properties, contract, contract_terms
from tff_nlp.tasks import task as tasks

Aggregator: TypeAlias = Union[  # noqa: UP007 - the types are unknown to the checker.
    "tff.aggregators.WeightedAggregationFactory", "tff.aggregators.UnweightedAggregationFactory"
]


def compose(
    task: tasks.Task,
    work: tff.learning.templates.ClientWorkProcess,
    aggregator: Aggregator | None,
    server_optimizer: optimizers.ServerOptimizer,
    conduct: contract_terms.Conduct,
) -> tff.learning.templates.LearningProcess:
    """Returns the learning process of client work, aggregator and server optimizer.

    The attribute `conduct` of the process describes what it does with its clients. The check of its
    rounds needs it.

    `process.initialize()` fills the weights with NaN, because the real weights are too large to be
    constants of a computation. Use `initial_state` to get a state with the task's weights. Training
    from NaN by mistake shows at once.

    Args:
      task: The task.
      work: The client work process.
      aggregator: Aggregator of the clients' updates; None for the weighted mean.
      server_optimizer: Optimizer of the server.
      conduct: Result of `check`.
    """
    model_type = task.weights_type()
    result_type = work.next.type_signature.result.result.member
    process = tff.learning.templates.compose_learning_process(
        no_weights(model_type),
        tff.learning.templates.build_broadcast_process(model_type),
        work,
        weighted(aggregator).create(result_type.update, result_type.update_weight),
        server_update.build_server_update(model_type, server_optimizer),
    )
    process.conduct = conduct
    return process


def weighted(aggregator: Aggregator | None) -> tff.aggregators.WeightedAggregationFactory:
    """Returns a weighted aggregator. An unweighted one is wrapped and ignores the weights.

    Args:
      aggregator: The aggregator; None for the weighted mean.
    """
    if aggregator is None:
        return tff.aggregators.MeanFactory()
    if isinstance(aggregator, tff.aggregators.UnweightedAggregationFactory):
        return tff.aggregators.as_weighted_aggregator(aggregator)
    return aggregator


def no_weights(model_type: tff.StructWithPythonType) -> tff.Computation:
    """Returns the computation of weights that are all NaN, see `compose`."""

    @tff.tensorflow.computation
    def nan() -> Any:
        specs = tff.types.type_to_tf_tensor_specs(model_type)
        return tf.nest.map_structure(
            lambda s: tf.fill(s.shape, tf.cast(float("nan"), s.dtype)), specs
        )

    return nan


def initialization(
    model_type: tff.StructWithPythonType,
    work: Callable[[], Any],
    aggregator: Callable[[], Any],
    finalizer: Callable[[], Any],
) -> tff.Computation:
    """Returns the computation of the state before the first round, see `compose`.

    Args:
      model_type: Type of the weights.
      work: Function that returns the state of the client work, at the server.
      aggregator: The same for the aggregator.
      finalizer: The same for the finalizer.
    """
    nan_weights = no_weights(model_type)

    @tff.federated_computation
    def initialize() -> Any:
        return tff.federated_zip(
            tff.learning.templates.LearningAlgorithmState(
                tff.federated_eval(nan_weights, tff.SERVER),
                tff.federated_value((), tff.SERVER),
                work(),
                aggregator(),
                finalizer(),
            )
        )

    return initialize


def at_clients(work: tff.Computation, settings: Any, weights: Any, clients: Any) -> Any:
    """Returns what clients compute from what the server sends and from their inputs.

    Args:
      work: Computation (settings, weights, client's input) -> results.
      settings: The settings of the round, at the server.
      weights: The weights, at the server.
      clients: The inputs, at the clients.
    """
    received = (tff.federated_broadcast(settings), tff.federated_broadcast(weights), clients)
    return tff.federated_map(work, received)


def metrics(trained: Any, aggregator: Any, finalizer: Any) -> Any:
    """Returns the metrics of a round, at the server, as TFF's learning processes order them.

    Args:
      trained: The measurements of the local training, from `client_work.summarize`.
      aggregator: Those of the aggregator.
      finalizer: Those of the finalizer.
    """
    return tff.federated_zip(
        collections.OrderedDict(
            client_work=tff.federated_zip(collections.OrderedDict(train=trained)),
            aggregator=aggregator,
            finalizer=finalizer,
        )
    )


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
    """Returns the state before the first round, with the task's initial weights."""
    trainable, frozen = task.initial_weights()
    return process.set_model_weights(
        process.initialize(),
        tff.learning.models.ModelWeights(tuple(trainable), tuple(frozen)),
    )


def keyed(aggregator: Aggregator | None) -> bool:
    """Returns whether clients add the noise, so that the aggregator takes `KeyedUpdate`s."""
    return aggregator_properties.of(aggregator).takes_keys


def coding_of(aggregator: Aggregator | None) -> codings.Coding | None:
    """Returns how clients encode what they send to an aggregator; None if they do not."""
    coding = getattr(aggregator, "coding", None)
    return coding if isinstance(coding, codings.Coding) else None


def check(
    task: tasks.Task,
    local: client_work.LocalWork,
    aggregator: Aggregator | None,
    *,
    algorithm: str = "fedavg",
    allow_dp_mismatch: bool = False,
) -> contract_terms.Conduct:
    """Refuses combinations that would make a printed epsilon or a secure sum wrong.

    Args:
      task: The task.
      local: How clients train.
      aggregator: Aggregator of the clients' updates.
      algorithm: Name of the algorithm.
      allow_dp_mismatch: Whether to permit settings that make an epsilon invalid, for a run that
        claims no epsilon.

    Returns:
      What the process does with its clients.

    Raises:
      UserError: If a combination is refused. The message is the first sentence of
        `privacy.contract.violations`.
    """
    conduct = contract_terms.Conduct(
        algorithm=algorithm,
        aggregator=aggregator_properties.of(aggregator),
        by_example=local.example_privacy is not None,
        weighting=local.weighting,
        dependence=_dependence(task),
        sends_sums=local.send is not None,
        audited=local.canaries is not None,
        allow_dp_mismatch=allow_dp_mismatch,
    )
    contract.check(conduct)
    if conduct.aggregator.keeps_error and coding_of(aggregator) is None:
        raise errors.UserError(
            f"{conduct.aggregator.coded_by}: clients cannot keep what it leaves out inside of "
            "another aggregator; take `error_feedback`=false, or its own aggregator"
        )
    mixed_ranks.check(local.ranks, aggregator)
    return conduct


def _dependence(task: tasks.Task) -> str:
    """Returns why the loss of an example depends on other examples; empty if it does not."""
    if task.dependence or task.statistics is tasks.no_statistics:
        return task.dependence
    return f"`task`={task.name}: its losses read statistics of all examples of a client"
