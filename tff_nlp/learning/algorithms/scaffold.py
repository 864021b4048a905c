"""SCAFFOLD: control variates correct the drift of each client.

Karimireddy et al. 2020, "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning",
algorithm 1 with option II for the clients' variates.
"""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.learning import (
    client_batches,
    client_input,
    client_work,
    composition,
    local_training,
    optimizers,
    server_update,
    stateful,
)
from tff_nlp.learning.transforms import correction
from tff_nlp.learning.transforms import transform as transforms
from tff_nlp.tasks import task as tasks


def scaffold(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    population: int,
    server_optimizer: optimizers.ServerOptimizer | None = None,
    aggregator: composition.Aggregator | None = None,
) -> stateful.StatefulProcess:
    """Builds the process: clients step along their gradients minus their drift.

    A client keeps its control variate c_i, which is as large as the trainable weights. It sends the
    change of c_i together with the update. It sends and receives twice the bytes of `fed_avg`.

    Args:
      task: The task.
      local: How clients train. The optimizer must be plain SGD, because c_i is computed from its
        steps.
      population: Number of all clients, N of the paper. The server's variate is the mean over all
        of them, including those that have not taken part yet.
      server_optimizer: See `fed_avg`. The paper uses SGD; its step size is the global step size.
      aggregator: Aggregator of the clients' updates, and also of the changes of their variates.

    Raises:
      UserError: If the optimizer is not plain SGD, or the aggregator claims differential privacy. A
        client's state depends on all rounds in which it took part, and no accountant supports this.
    """
    local = local or client_work.LocalWork()
    conduct = composition.check(task, local, aggregator, algorithm="scaffold")
    local.optimizer.check_for("scaffold")
    if population < 1:
        raise errors.UserError(f"`num_clients`={population}: must be 1 or more")
    specs = task.weight_specs()[0]
    variates = tff.types.tensorflow_to_type(specs)
    model_type = task.weights_type()
    client_type = client_input.client_type(
        task.batch_spec, {client_input.STATE: specs, **client_work.extras(local)}
    )
    work = _build_work(task, local, variates, model_type, client_type)
    update_type, weight_type, sums_type = work.type_signature.result[:3]
    factory = composition.weighted(aggregator)
    updates = factory.create(update_type, weight_type)
    changes = factory.create(variates, tff.TensorType(np.float32))
    finalizer = server_update.build_server_update(
        model_type, server_optimizer or optimizers.ServerOptimizer()
    )

    @tff.tensorflow.computation
    def first() -> Any:
        return tf.zeros([], tf.int32), tuple(tf.zeros(s.shape, s.dtype) for s in specs)

    @tff.tensorflow.computation(first.type_signature.result, variates, np.float32)
    def advance(state: Any, mean_change: Any, clients: Any) -> Any:
        number, variate = state
        share = clients / float(population)
        # The mean over no clients is NaN.
        new_variate = tuple(
            c + tf.math.multiply_no_nan(change, share)
            for c, change in zip(variate, mean_change, strict=True)
        )
        return number + 1, new_variate

    summarize = client_work.build_summary(task, sums_type)

    initialize = composition.initialization(
        model_type,
        lambda: tff.federated_eval(first, tff.SERVER),
        lambda: tff.federated_zip((updates.initialize(), changes.initialize())),
        finalizer.initialize,
    )

    @tff.federated_computation(
        initialize.type_signature.result, tff.FederatedType(client_type, tff.CLIENTS)
    )
    def next_fn(state: Any, clients: Any) -> Any:
        sent = composition.at_clients(work, state.client_work, state.global_model_weights, clients)
        update, weight, sums, change, one, kept = (sent[number] for number in range(6))
        updated = updates.next(state.aggregator[0], update, weight)
        changed = changes.next(state.aggregator[1], change, one)
        trained = tff.federated_map(summarize, tff.federated_sum(sums))
        advanced = tff.federated_map(
            advance, (state.client_work, changed.result, tff.federated_sum(one))
        )
        applied = finalizer.next(state.finalizer, state.global_model_weights, updated.result)
        new_state = tff.federated_zip(
            tff.learning.templates.LearningAlgorithmState(
                applied.result,
                state.distributor,
                advanced,
                tff.federated_zip((updated.state, changed.state)),
                applied.state,
            )
        )
        metrics = composition.metrics(trained, updated.measurements, applied.measurements)
        return stateful.StatefulOutput(new_state, metrics, kept)

    state_type = initialize.type_signature.result.member
    get_weights, set_weights = composition.weight_accessors(state_type)
    process = stateful.StatefulProcess(initialize, next_fn, get_weights, set_weights, specs)
    process.conduct = conduct
    return process


def _build_work(
    task: tasks.Task,
    local: client_work.LocalWork,
    variates: tff.Type,
    model_type: tff.Type,
    client_type: tff.Type,
) -> tff.Computation:
    """Returns the client's computation.

    It returns the update, its weight, the client's sums, the change of its control variate, the
    weight of this change (1, because an aggregator may count all clients), and the client's new
    state.
    """
    server_type = tff.StructType([np.int32, variates])

    @tff.tensorflow.computation(server_type, model_type, client_type)
    def work(server: Any, weights: Any, client: Any) -> Any:
        round_number, variate = server[0], tuple(server[1])
        trainable = tuple(weights.trainable)
        zeros = tuple(map(tf.zeros_like, trainable))
        own = tuple(client_input.value_of(client, client_input.STATE, zeros))
        batches = client_batches.read(task, client_input.batches_of(client))
        rate = local.optimizer.learning_rate * local.schedule.factor(round_number)
        drift = [c - mine for c, mine in zip(variate, own, strict=True)]
        deltas, sums = local_training.train(
            task,
            local.optimizer,
            trainable,
            tuple(weights.non_trainable),
            batches,
            learning_rate=rate,
            round_seed=client_work.round_seed(local.seed, round_number),
            transform=transforms.chain([*local.transforms, correction.correction(drift)]),
        )
        # A client without batches, or with an overflow, learned nothing about its drift.
        counts = (1.0 - sums["non_finite"]) * tf.cast(batches.count > 0, tf.float32)
        steps = tf.cast(batches.count, tf.float32) * rate
        change = tuple(
            counts * (tf.math.divide_no_nan(delta, steps) - c)
            for delta, c in zip(deltas, variate, strict=True)
        )
        kept = tuple(mine + part for mine, part in zip(own, change, strict=True))
        update = client_work.sent(local, deltas, sums, client)
        weight = client_work.weight_of(sums, local.weighting)
        return update, weight, sums, change, tf.ones([]), kept

    return work
