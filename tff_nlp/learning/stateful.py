"""Processes with clients that keep a state between rounds."""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.aggregation.compression import coding as codings
from tff_nlp.aggregation.robust import robust_mean
from tff_nlp.learning import (
    client_input,
    client_work,
    composition,
    optimizers,
    server_update,
)
from tff_nlp.privacy import contract_terms
from tff_nlp.tasks import task as tasks

# (weights of the server, state of the client) -> weights of the client's own model.
OwnModel = Callable[[Any, Sequence[Any]], Any]
# (round number, weights, client's input) -> update, its weight, the client's sums, its new state.
Work = Callable[[tf.Tensor, Any, Any], tuple[Any, Any, Any, Any]]


class StatefulOutput(NamedTuple):
    """The result of a round.

    Attributes:
      state: The server's next state.
      metrics: The metrics, as in every learning process.
      clients: The new state of each client, in the order of the cohort.
    """

    state: Any
    metrics: Any
    clients: Any


class StatefulProcess(tff.templates.IterativeProcess):
    """A learning process that takes each client's state and returns the new one.

    The arguments of `next` are the server's state and a list with one value per client: the result
    of `client_input.with_values` for the client's batches and state. `next` returns a
    `StatefulOutput`. The caller keeps the client states between rounds: a simulation stores them by
    the client's id (`program.client_states`), and a real client keeps its own.

    Attributes:
      client_specs: The specs of a client's state, a tuple.
      own_model: Function (weights of the server, state of a client) -> weights of the client's own
        model, as `tff.learning.models.ModelWeights`; None if clients have no models of their own.
    """

    def __init__(
        self,
        initialize: Any,
        next_fn: Any,
        get_model_weights: Any,
        set_model_weights: Any,
        client_specs: Sequence[tf.TensorSpec],
        own_model: OwnModel | None = None,
    ) -> None:
        """Initializes the process.

        Args:
          initialize: TFF computation without arguments that returns the server's first state.
          next_fn: TFF computation of a round.
          get_model_weights: TFF computation that returns the weights of a state.
          set_model_weights: TFF computation that returns a state with other weights.
          client_specs: The specs of a client's state.
          own_model: See the attribute.
        """
        super().__init__(initialize, next_fn)
        self.get_model_weights = get_model_weights
        self.set_model_weights = set_model_weights
        self.client_specs = tuple(client_specs)
        self.own_model = own_model


def compose(
    task: tasks.Task,
    work: Work,
    aggregator: composition.Aggregator | None,
    server_optimizer: optimizers.ServerOptimizer | None,
    conduct: contract_terms.Conduct,
    *,
    client_specs: Sequence[tf.TensorSpec],
    extras: Mapping[str, Any],
    own_model: OwnModel | None = None,
    model_type: tff.Type | None = None,
) -> StatefulProcess:
    """Returns the process of a client's work, an aggregator and a server optimizer.

    As with `composition.compose`, the first weights are NaN. If the aggregator has a codec that
    loses something, clients keep it as a part of their state, and add it to their next update.

    Args:
      task: The task.
      work: Function (round number, weights, client's input) -> update, its weight, the client's
        sums, the client's new state. The weights are what the server keeps and sends. The update
        has the shapes of those that train.
      aggregator: Aggregator of the clients' updates; None for the weighted mean.
      server_optimizer: Optimizer of the server; None for SGD with step size 1.
      conduct: Result of `composition.check`.
      client_specs: The specs of the state of a client that `work` returns.
      extras: The specs of the other values that a client needs in addition to its batches.
      own_model: See `StatefulProcess`.
      model_type: Type of the weights that the server keeps; None for those of the task.
    """
    model_type = model_type or task.weights_type()
    own_specs = tuple(client_specs)
    coding = composition.coding_of(aggregator)
    if coding is not None and coding.keeps_error:
        work = _keeping_errors(work, coding, len(own_specs))
        trained = tff.types.type_to_tf_tensor_specs(model_type).trainable
        client_specs = (*own_specs, *trained)
    client_type = client_input.client_type(
        task.batch_spec, {client_input.STATE: tuple(client_specs), **extras}
    )

    @tff.tensorflow.computation(np.int32, model_type, client_type)
    def at_client(round_number: Any, weights: Any, client: Any) -> Any:
        return work(round_number, weights, client)

    update_type, weight_type, sums_type, _ = at_client.type_signature.result
    updates = composition.weighted(aggregator).create(update_type, weight_type)
    finalizer = server_update.build_server_update(
        model_type, server_optimizer or optimizers.ServerOptimizer()
    )
    summarize = client_work.build_summary(task, sums_type)
    initialize = composition.initialization(
        model_type,
        lambda: tff.federated_eval(client_work.first_round, tff.SERVER),
        updates.initialize,
        finalizer.initialize,
    )

    @tff.federated_computation(
        initialize.type_signature.result, tff.FederatedType(client_type, tff.CLIENTS)
    )
    def next_fn(state: Any, clients: Any) -> Any:
        received = (state.client_work, state.global_model_weights, clients)
        sent = composition.at_clients(at_client, *received)
        update, weight, sums, kept = (sent[number] for number in range(4))
        updated = updates.next(state.aggregator, update, weight)
        trained = tff.federated_map(summarize, tff.federated_sum(sums))
        applied = finalizer.next(state.finalizer, state.global_model_weights, updated.result)
        new_state = tff.federated_zip(
            tff.learning.templates.LearningAlgorithmState(
                applied.result,
                state.distributor,
                tff.federated_map(client_work.next_round, state.client_work),
                updated.state,
                applied.state,
            )
        )
        metrics = composition.metrics(trained, updated.measurements, applied.measurements)
        return StatefulOutput(new_state, metrics, kept)

    state_type = initialize.type_signature.result.member
    accessors = composition.weight_accessors(state_type)
    first = None if own_model is None else _of_own_state(own_model, len(own_specs))
    process = StatefulProcess(initialize, next_fn, *accessors, client_specs, first)
    process.conduct = conduct
    return process


def _of_own_state(own_model: OwnModel, size: int) -> OwnModel:
    """Returns the function for a state that is followed by what a codec lost."""
    return lambda weights, state: own_model(weights, tuple(state)[:size])


def _keeping_errors(work: Work, coding: codings.Coding, size: int) -> Work:
    """Returns the work of clients that keep what a codec loses, as error feedback.

    Seide et al. 2014, "1-Bit Stochastic Gradient Descent", section 3; Karimireddy et al. 2019,
    "Error Feedback Fixes SignSGD and other Gradient Compression Schemes", algorithm 2.

    Args:
      work: The work.
      coding: How clients encode their updates.
      size: Number of tensors of the state that `work` returns.
    """

    def encoding(round_number: tf.Tensor, weights: Any, client: Any) -> Any:
        zeros = tuple(tf.zeros(part.shape) for part in tuple(weights.trainable))
        state = client[client_input.STATE]
        lost = state.map(lambda *parts: parts[size:]).reduce(zeros, lambda _, value: value)
        own = collections.OrderedDict(client)
        del own[client_input.STATE]
        if size:  # A data set has at least one tensor.
            own[client_input.STATE] = state.map(lambda *parts: parts[:size])
        update, weight, sums, kept = work(round_number, weights, own)
        if isinstance(update, robust_mean.MarkedUpdate):
            encoded, lost = coding.send(update.update, weight, lost)
            return update._replace(update=encoded), weight, sums, (*kept, *lost)
        encoded, lost = coding.send(update, weight, lost)
        return encoded, weight, sums, (*kept, *lost)

    return encoding
