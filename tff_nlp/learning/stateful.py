"""Processes with clients that keep a state between rounds."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.learning import client_work, composition, optimizers, server_update
from tff_nlp.privacy import contract_terms
from tff_nlp.tasks import task as tasks

# (weights of the server, state of the client) -> weights of the client's own model.
OwnModel = Callable[[Any, Sequence[Any]], Any]


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
    work: tff.Computation,
    aggregator: composition.Aggregator | None,
    server_optimizer: optimizers.ServerOptimizer | None,
    conduct: contract_terms.Conduct,
    *,
    client_specs: Sequence[tf.TensorSpec],
    own_model: OwnModel | None,
) -> StatefulProcess:
    """Returns the process of a client's computation, an aggregator and a server optimizer.

    As with `composition.compose`, the first weights are NaN.

    Args:
      task: The task.
      work: Computation (round number, weights, client's input) -> update, its weight, the client's
        sums, the client's new state. The weights are what the server keeps and sends.
      aggregator: Aggregator of the clients' updates; None for the weighted mean.
      server_optimizer: Optimizer of the server; None for SGD with step size 1.
      conduct: Result of `composition.check`.
      client_specs: The specs of a client's state.
      own_model: See `StatefulProcess`.
    """
    _, model_type, client_type = work.type_signature.parameter
    update_type, weight_type, sums_type, _ = work.type_signature.result
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
        sent = composition.at_clients(work, state.client_work, state.global_model_weights, clients)
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
    process = StatefulProcess(initialize, next_fn, *accessors, client_specs, own_model)
    process.conduct = conduct
    return process
