"""q-FedAvg: clients with a larger loss weigh more, so that the losses become more equal.

Li et al. 2020, "Fair Resource Allocation in Federated Learning", algorithm 2.
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
    suitability,
)
from tff_nlp.learning.transforms import transform as transforms
from tff_nlp.privacy import properties
from tff_nlp.tasks import task as tasks

# Losses below it count as this loss, because powers of zero may be infinite.
_LEAST_LOSS = 1e-10


def q_fed_avg(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    fairness: float = 1.0,
    server_optimizer: optimizers.ServerOptimizer | None = None,
    aggregator: composition.Aggregator | None = None,
) -> tff.learning.templates.LearningProcess:
    """Builds the process, which minimises sum_k p_k F_k^(q+1) / (q+1).

    F_k is the loss of client k, and p_k its weight by `LocalWork.weighting`. A client measures F_k
    at the weights that it receives, on the batches that it trains on and without dropout. This
    costs it another forward pass. It sends as many bytes as in `fed_avg`.

    The paper's server divides the sum of Delta_k by the sum of h_k. This is the mean of
    Delta_k / h_k with the weights h_k. So a client sends these two, and any weighted aggregator
    computes the step.

    Args:
      task: The task.
      local: How clients train. The optimizer must be plain SGD, because the paper estimates the
        smoothness of the loss by 1 / step size.
      fairness: The exponent q of the paper, 0 or more. 0 is `fed_avg`.
      server_optimizer: See `fed_avg`. The paper uses SGD with step size 1.
      aggregator: A weighted aggregator of the clients' updates.

    Raises:
      UserError: If q is out of range or too large for a secure sum, the optimizer is not plain SGD,
        the aggregator ignores weights or claims differential privacy. A mechanism bounds an update,
        but not a weight that depends on the client's loss.
    """
    local = local or client_work.LocalWork()
    conduct = composition.check(task, local, aggregator, algorithm="qfedavg")
    local.optimizer.check_for("qfedavg")
    _check(fairness, aggregator, secure_sum=_is_coarse(conduct.aggregator))
    return composition.compose(
        task,
        client_work.build_process(task, _build_work(task, local, fairness)),
        aggregator,
        server_optimizer or optimizers.ServerOptimizer(),
        conduct,
    )


def _is_coarse(aggregator: properties.Properties) -> bool:
    """Returns whether a secure sum has large steps for weights."""
    return aggregator.secure_sum and not aggregator.encrypted


def _check(fairness: float, aggregator: composition.Aggregator | None, *, secure_sum: bool) -> None:
    if not 0 <= fairness < float("inf"):
        raise errors.UserError(f"`fairness_q`={fairness}: must be 0 or more, and finite")
    suitability.check_fairness(fairness, secure_sum=secure_sum)
    if isinstance(aggregator, tff.aggregators.UnweightedAggregationFactory):
        raise errors.UserError(
            "`algorithm`=qfedavg: the aggregator ignores weights, and the loss of a client is its "
            "weight; take a weighted one"
        )


def _build_work(task: tasks.Task, local: client_work.LocalWork, fairness: float) -> tff.Computation:
    """Returns the client's computation, see `client_work.build_process`."""
    data_type = client_input.client_type(task.batch_spec, client_work.extras(local))

    @tff.tensorflow.computation(np.int32, task.weights_type(), data_type)
    def work(round_number: Any, weights: Any, client: Any) -> Any:
        trainable, frozen = tuple(weights.trainable), tuple(weights.non_trainable)
        batches = client_batches.read(task, client_input.batches_of(client))
        rate = local.optimizer.learning_rate * local.schedule.factor(round_number)
        deltas, sums = local_training.train(
            task,
            local.optimizer,
            trainable,
            frozen,
            batches,
            learning_rate=rate,
            round_seed=client_work.round_seed(local.seed, round_number),
            transform=transforms.chain(local.transforms),
        )
        loss = local_training.mean_loss(task, trainable, frozen, batches)
        # A client with a loss that is not a number has the weight 0, but its update must be zero.
        finite = tf.math.is_finite(loss)
        loss = tf.where(finite, tf.maximum(loss, _LEAST_LOSS), 1.0)
        # Delta_k = L F^q d and h_k = L F^q * growth, with L = 1 / rate and the update d. L is the
        # same for all clients, so it is left out of the weight.
        growth = 1.0 + fairness * tf.math.divide_no_nan(sums["update_norm_squared"], rate * loss)
        update = tuple(d / growth for d in deltas)
        update = client_work.sent(local, update, sums, client)
        weight = client_work.weight_of(sums, local.weighting) * tf.pow(loss, fairness) * growth
        weight = tf.where(finite & tf.math.is_finite(weight), weight, 0.0)
        return tff.learning.templates.ClientResult(update, weight), sums

    return work
