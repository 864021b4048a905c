"""FedBuff: clients train all the time, and the server steps when a buffer of updates is full.

Nguyen et al. 2022, "Federated Learning with Buffered Asynchronous Aggregation", algorithm 1.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.learning import (
    client_input,
    client_work,
    composition,
    local_training,
    optimizers,
    stateful,
)
from tff_nlp.tasks import task as tasks


def fed_buff(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    server_optimizer: optimizers.ServerOptimizer | None = None,
    aggregator: composition.Aggregator | None = None,
) -> stateful.StatefulProcess:
    """Builds the process, whose server steps along (1 / K) sum s(tau) update.

    A round is the time in which K updates arrive. A client trains from the model of the round in
    which it begins, and its update may arrive in a later one. In between, the update is the state
    of the client. The input of a client says what it does in a round (`client_input.JOB`): whether
    it begins to train, and the factor s(tau) of its update if it arrives. `discount` computes this
    factor. `clients.virtual_clock.BufferedRounds` decides who does what in a simulation.

    Args:
      task: The task.
      local: How clients train. Updates weigh the same, whatever `weighting` says.
      server_optimizer: See `fed_avg`.
      aggregator: Aggregator of the updates that arrive. The other ones have the weight 0.

    Returns:
      The process. If all clients begin and arrive in each round, it is `fed_avg` with uniform
      weights.

    Raises:
      UserError: If settings are not compatible, or an aggregator claims differential privacy. The
        accountants here assume that a client's update belongs to the round of its sampling.
    """
    local = local or client_work.LocalWork()
    conduct = composition.check(task, local, aggregator, algorithm="fedbuff")
    return stateful.compose(
        task,
        _build_work(task, local),
        aggregator,
        server_optimizer,
        conduct,
        client_specs=task.weight_specs()[0],
        extras={client_input.JOB: client_input.JOB_SPEC, **client_work.extras(local)},
    )


def discount(staleness: Any) -> Any:
    """Returns the factor s(tau) = (1 + tau)^-1/2 of an update, section 4.1.

    Args:
      staleness: Number tau of models that the server made since the client began to train.
    """
    return 1.0 / np.sqrt(1.0 + staleness)


def _build_work(task: tasks.Task, local: client_work.LocalWork) -> stateful.Work:
    """Returns the client's work, see `stateful.compose`."""
    specs = task.weight_specs()[0]

    def work(round_number: Any, weights: Any, client: Any) -> Any:
        zeros = tuple(tf.zeros(spec.shape) for spec in specs)
        waiting = tuple(client_input.value_of(client, client_input.STATE, zeros))
        job = client_input.value_of(client, client_input.JOB, tf.zeros([2]))

        def train() -> Any:
            update, sums = client_work.update(task, local, round_number, weights, client)
            return client_work.sent(local, update, sums, client), sums

        def wait() -> Any:
            return waiting, local_training.nothing_trained(task)

        update, sums = tf.cond(job[0] > 0, train, wait)
        arrives = job[1] > 0
        sent = tuple(tf.where(arrives, job[1] * part, 0.0) for part in update)
        kept = tuple(tf.where(arrives, 0.0, part) for part in update)
        # An update that was not finite is zero, and counts as zero.
        return sent, tf.cast(arrives, tf.float32), sums, kept

    return work
